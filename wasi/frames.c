/* What frames cost most of: checksums, deflate and sums of strides, as C that is optimised. CPython's own zlib, as components have it,
 * takes 30 instructions a byte for a checksum and 96 to inflate one. libdeflate is compiled into this unit (decision 0038).
 *
 * `virke.core.codec` and `virke.core.strides` say what each function is; without this module they do the same themselves.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "lib/utils.c"
#include "lib/crc32.c"
#include "lib/deflate_decompress.c"
#undef BITBUF_NBITS
#include "lib/deflate_compress.c"

static struct libdeflate_decompressor *inflater;
static struct libdeflate_compressor *deflater;

enum { LEVEL = 1 };

/* crc32(data) -> int */
static PyObject *frames_crc32(PyObject *self, PyObject *data) {
  (void)self;
  Py_buffer view;
  if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) != 0) return NULL;
  unsigned long found = libdeflate_crc32(0, view.buf, (size_t)view.len);
  PyBuffer_Release(&view);
  return PyLong_FromUnsignedLong(found);
}

/* inflate(data, raw_bytes) -> bytes of exactly that length, or None where the stream has another length or is not one. */
static PyObject *frames_inflate(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  (void)self;
  if (count != 2) return PyErr_Format(PyExc_TypeError, "inflate takes 2 arguments");
  Py_ssize_t raw_bytes = PyLong_AsSsize_t(args[1]);
  if (raw_bytes < 0) return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "a negative length");
  if (inflater == NULL && (inflater = libdeflate_alloc_decompressor()) == NULL) return PyErr_NoMemory();
  Py_buffer view;
  if (PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) != 0) return NULL;
  PyObject *raw = PyBytes_FromStringAndSize(NULL, raw_bytes);
  if (raw != NULL) {
    size_t read, written;
    enum libdeflate_result result = libdeflate_deflate_decompress_ex(
        inflater, view.buf, (size_t)view.len, PyBytes_AsString(raw), (size_t)raw_bytes, &read, &written);
    if (result != LIBDEFLATE_SUCCESS || written != (size_t)raw_bytes) {
      Py_DECREF(raw);
      raw = Py_NewRef(Py_None);
    }
  }
  PyBuffer_Release(&view);
  return raw;
}

/* deflate(data) -> bytes, shorter than data, or None where they would not be. */
static PyObject *frames_deflate(PyObject *self, PyObject *data) {
  (void)self;
  if (deflater == NULL && (deflater = libdeflate_alloc_compressor(LEVEL)) == NULL) return PyErr_NoMemory();
  Py_buffer view;
  if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) != 0) return NULL;
  PyObject *packed = NULL;
  char *room = view.len < 2 ? NULL : PyMem_Malloc((size_t)view.len);
  size_t length = room == NULL ? 0 : libdeflate_deflate_compress(deflater, view.buf, (size_t)view.len, room, (size_t)view.len - 1);
  if (length != 0) packed = PyBytes_FromStringAndSize(room, (Py_ssize_t)length);
  else packed = Py_NewRef(Py_None);
  PyMem_Free(room);
  PyBuffer_Release(&view);
  return packed;
}

/* sums(page, stride) -> bytes: each plus all those stride, 2 * stride … before it, modulo 256. */
static PyObject *frames_sums(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  (void)self;
  if (count != 2) return PyErr_Format(PyExc_TypeError, "sums takes 2 arguments");
  Py_ssize_t stride = PyLong_AsSsize_t(args[1]);
  if (stride <= 0) return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "no stride");
  Py_buffer view;
  if (PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) != 0) return NULL;
  PyObject *page = PyBytes_FromStringAndSize(view.buf, view.len);
  if (page != NULL) {
    unsigned char *bytes = (unsigned char *)PyBytes_AsString(page);
    for (Py_ssize_t at = stride; at < view.len; at++) bytes[at] = (unsigned char)(bytes[at] + bytes[at - stride]);
  }
  PyBuffer_Release(&view);
  return page;
}

/* running(numbers, least) -> bytes: of each u32 the sum up to it; None where one is less than least, or a sum no u32. */
static PyObject *frames_running(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  (void)self;
  if (count != 2) return PyErr_Format(PyExc_TypeError, "running takes 2 arguments");
  unsigned long least = PyLong_AsUnsignedLong(args[1]);
  if (least == (unsigned long)-1 && PyErr_Occurred()) return NULL;
  Py_buffer view;
  if (PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) != 0) return NULL;
  Py_ssize_t many = view.len / (Py_ssize_t)sizeof(u32);
  PyObject *sums = PyBytes_FromStringAndSize(NULL, many * (Py_ssize_t)sizeof(u32));
  if (sums != NULL) {
    const unsigned char *from = view.buf;
    unsigned char *to = (unsigned char *)PyBytes_AsString(sums);
    u64 sum = 0;
    for (Py_ssize_t at = 0; at < many; at++) {
      u32 number;
      memcpy(&number, from + at * 4, 4);
      sum += number;
      if (number < least || sum > UINT32_MAX) {
        Py_DECREF(sums);
        sums = Py_NewRef(Py_None);
        break;
      }
      number = (u32)sum;
      memcpy(to + at * 4, &number, 4);
    }
  }
  PyBuffer_Release(&view);
  return sums;
}

static PyMethodDef METHODS[] = {
    {"crc32", frames_crc32, METH_O, NULL},
    {"inflate", (PyCFunction)(void (*)(void))frames_inflate, METH_FASTCALL, NULL},
    {"deflate", frames_deflate, METH_O, NULL},
    {"sums", (PyCFunction)(void (*)(void))frames_sums, METH_FASTCALL, NULL},
    {"running", (PyCFunction)(void (*)(void))frames_running, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "virke_frames", NULL, -1, METHODS, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_virke_frames(void) { return PyModule_Create(&MODULE); }
