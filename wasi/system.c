/* What SQLite asks of a system, for a place that has no files.
 *
 * SQLite is built with SQLITE_OS_OTHER and has no VFS of its own. Databases come through the VFS that Virke registers in Python;
 * it still needs a default one, for `:memory:` and for randomness and time. This one opens nothing.
 */
#include <string.h>
#include <time.h>

int getentropy(void *buffer, size_t length); /* of wasi-libc; at most 256 bytes a call */

enum { ENTROPY_BYTES_MAX = 256, PATH_BYTES_MAX = 512, MS_PER_DAY = 86400000 };

/* 1970-01-01 as a Julian day number, in milliseconds: 2440587.5 days. */
static const sqlite3_int64 EPOCH_MS = 210866760000000LL;

static int none_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *flags_out) {
  (void)vfs, (void)name, (void)flags, (void)flags_out;
  file->pMethods = NULL; /* SQLite then closes nothing */
  return SQLITE_CANTOPEN;
}

static int none_delete(sqlite3_vfs *vfs, const char *name, int sync_directory) {
  (void)vfs, (void)name, (void)sync_directory;
  return SQLITE_IOERR_DELETE_NOENT;
}

static int none_access(sqlite3_vfs *vfs, const char *name, int flags, int *found) {
  (void)vfs, (void)name, (void)flags;
  *found = 0;
  return SQLITE_OK;
}

static int none_full_pathname(sqlite3_vfs *vfs, const char *name, int length, char *full) {
  (void)vfs;
  if (strlen(name) >= (size_t)length) return SQLITE_CANTOPEN;
  strcpy(full, name);
  return SQLITE_OK;
}

static int none_randomness(sqlite3_vfs *vfs, int length, char *buffer) {
  (void)vfs;
  int filled = 0;
  while (filled < length) {
    int step = length - filled < ENTROPY_BYTES_MAX ? length - filled : ENTROPY_BYTES_MAX;
    if (getentropy(buffer + filled, (size_t)step) != 0) break;
    filled += step;
  }
  return filled;
}

static int none_sleep(sqlite3_vfs *vfs, int us) { /* nobody else can free a lock meanwhile */
  (void)vfs;
  return us;
}

static int none_time_ms(sqlite3_vfs *vfs, sqlite3_int64 *ms) {
  (void)vfs;
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return SQLITE_ERROR;
  *ms = EPOCH_MS + (sqlite3_int64)now.tv_sec * 1000 + now.tv_nsec / 1000000;
  return SQLITE_OK;
}

static int none_time_days(sqlite3_vfs *vfs, double *days) {
  sqlite3_int64 ms = 0;
  int status = none_time_ms(vfs, &ms);
  *days = (double)ms / MS_PER_DAY;
  return status;
}

static int none_last_error(sqlite3_vfs *vfs, int length, char *text) {
  (void)vfs, (void)length, (void)text;
  return 0;
}

static sqlite3_vfs NONE = {
    .iVersion = 2,
    .szOsFile = sizeof(sqlite3_file),
    .mxPathname = PATH_BYTES_MAX,
    .zName = "none",
    .xOpen = none_open,
    .xDelete = none_delete,
    .xAccess = none_access,
    .xFullPathname = none_full_pathname,
    .xRandomness = none_randomness,
    .xSleep = none_sleep,
    .xCurrentTime = none_time_days,
    .xGetLastError = none_last_error,
    .xCurrentTimeInt64 = none_time_ms,
};

int sqlite3_os_init(void) { return sqlite3_vfs_register(&NONE, 1); }
int sqlite3_os_end(void) { return SQLITE_OK; }

/* The product of two 128-bit numbers, modulo 2^128. The compiler calls it for SQLite's 64 x 64 bits; no library of the component
 * exports it. Halves of 32 bits, so that nothing here needs the function itself. */
__int128 __multi3(__int128 first, __int128 second) {
  unsigned __int128 x = (unsigned __int128)first, y = (unsigned __int128)second;
  unsigned long long a = (unsigned long long)x, b = (unsigned long long)y;
  unsigned long long a_low = a & 0xffffffffULL, a_high = a >> 32, b_low = b & 0xffffffffULL, b_high = b >> 32;
  unsigned long long low = a_low * b_low;
  unsigned long long middle = a_high * b_low + (low >> 32); /* can't overflow: (2^32 - 1)^2 + 2^32 - 1 < 2^64 */
  unsigned long long other = a_low * b_high + (middle & 0xffffffffULL);
  unsigned long long high = a_high * b_high + (middle >> 32) + (other >> 32);
  high += a * (unsigned long long)(y >> 64) + b * (unsigned long long)(x >> 64);
  return (__int128)(((unsigned __int128)high << 64) | (other << 32) | (low & 0xffffffffULL));
}
