/* apsw, with SQLite's amalgamation inside it, and the system below it, as one translation unit. */
#include "apsw.c"
#include "system.c"
