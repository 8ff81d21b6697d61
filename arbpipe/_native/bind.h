/* What the Python bindings share. Stable ABI of CPython 3.11: one wheel for every later version. */
#ifndef ARBPIPE_BIND_H
#define ARBPIPE_BIND_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include "core.h"

/* A Region: one exported buffer, from its creation to release(). */
typedef struct {
    PyObject_HEAD
    Py_buffer buffer;
    bool held;
    Py_ssize_t uses; /* kernels that point into it */
} region_object;

typedef struct {
    PyTypeObject *region;
    PyObject *overrun;
} module_state;

extern PyType_Spec region_spec;
extern PyType_Spec kernel_spec;
extern PyType_Spec outlet_spec;
extern PyMethodDef row_functions[];
extern PyMethodDef ring_functions[];
extern PyMethodDef outlet_functions[];

module_state *state_of(PyObject *module);

/* A checked address: `length` bytes at `offset` inside the region, offset a multiple of `align`; else an exception and NULL.
 * `write`: the region must be writable. */
uint8_t *region_at(region_object *region, Py_ssize_t offset, Py_ssize_t length, Py_ssize_t align, bool write);
/* The region behind an argument, or an exception and NULL. */
region_object *region_of(module_state *state, PyObject *object);
/* A byte offset; an int that does not fit is an IndexError, like any other offset outside. False with an exception. */
bool offset_of(PyObject *object, Py_ssize_t *offset);
/* An unsigned or signed integer that must fit; else ValueError. False with an exception. */
bool unsigned_of(PyObject *object, uint64_t most, uint64_t *value);
bool signed_of(PyObject *object, int64_t least, int64_t most, int64_t *value);
/* A power of two of at least 2. False with an exception. */
bool capacity_of(PyObject *object, size_t *capacity);
bool arguments(const char *name, Py_ssize_t given, Py_ssize_t wanted);
/* The region argument and a checked place in it, for a function whose first arguments are a region and an offset. */
uint8_t *place(PyObject *module, PyObject *const *args, Py_ssize_t length, bool write);
/* Copy `length` bytes out of any buffer into words, because the caller's buffer need not be aligned; return the buffer's own
 * length, -1 with an exception. */
Py_ssize_t take(PyObject *from, uint64_t *words, Py_ssize_t length);
PyObject *raise_overrun(module_state *state, uint64_t head);
/* Levels, best first, into zeroed words; those beyond the eighth are left out. Either (price_e4, size_e2) pairs, or an array of
 * 64-bit words price_e4 | size_e2 << 32. False with an exception. */
bool put_levels(PyObject *levels, int32_t *into);

#define FUNCTION(name) static PyObject *name(PyObject *module, PyObject *const *args, Py_ssize_t count)
#define METHOD(name, text) {#name, (PyCFunction)(void (*)(void))py_##name, METH_FASTCALL, #name text}

#endif
