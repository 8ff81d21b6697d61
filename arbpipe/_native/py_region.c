/* Region: words and bytes of one mapped buffer, every access checked for bounds and alignment. */
#include "bind.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

uint8_t *region_at(region_object *region, Py_ssize_t offset, Py_ssize_t length, Py_ssize_t align, bool write)
{
    if (!region->held) {
        PyErr_SetString(PyExc_ValueError, "the region is released");
        return NULL;
    }
    if (offset < 0 || length < 0 || offset > region->buffer.len - length) {
        PyErr_Format(PyExc_IndexError, "offset %zd (+%zd) is outside the region of %zd bytes", offset, length,
                     region->buffer.len);
        return NULL;
    }
    if (offset % align) {
        PyErr_Format(PyExc_ValueError, "offset %zd is not a multiple of %zd", offset, align);
        return NULL;
    }
    if (write && region->buffer.readonly) {
        PyErr_SetString(PyExc_TypeError, "cannot modify read-only memory");
        return NULL;
    }
    return (uint8_t *)region->buffer.buf + offset;
}

region_object *region_of(module_state *state, PyObject *object)
{
    if (!PyObject_TypeCheck(object, state->region)) {
        PyErr_SetString(PyExc_TypeError, "a Region of this core is expected");
        return NULL;
    }
    return (region_object *)object;
}

bool offset_of(PyObject *object, Py_ssize_t *offset)
{
    *offset = PyNumber_AsSsize_t(object, PyExc_IndexError);
    return *offset != -1 || !PyErr_Occurred();
}

/* OverflowError says nothing about whose limit it was. */
static bool out_of_range(PyObject *object)
{
    if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%R does not fit the word it is stored in", object);
    }
    return false;
}

bool unsigned_of(PyObject *object, uint64_t most, uint64_t *value)
{
    if (PyLong_CheckExact(object)) { /* the usual case */
        *value = PyLong_AsUnsignedLongLong(object);
        if (*value <= most && (*value != (uint64_t)-1 || !PyErr_Occurred()))
            return true;
        PyErr_Clear(); /* below it is said in our words */
    }
    PyObject *number = PyNumber_Index(object);
    if (!number)
        return false;
    *value = PyLong_AsUnsignedLongLong(number);
    bool bad = *value == (uint64_t)-1 && PyErr_Occurred();
    Py_DECREF(number);
    if (bad)
        return out_of_range(object);
    if (*value > most) {
        PyErr_Format(PyExc_ValueError, "%R does not fit the word it is stored in", object);
        return false;
    }
    return true;
}

bool signed_of(PyObject *object, int64_t least, int64_t most, int64_t *value)
{
    if (PyLong_CheckExact(object)) {
        *value = PyLong_AsLongLong(object);
        if (*value >= least && *value <= most && (*value != -1 || !PyErr_Occurred()))
            return true;
        PyErr_Clear();
    }
    PyObject *number = PyNumber_Index(object);
    if (!number)
        return false;
    *value = PyLong_AsLongLong(number);
    bool bad = *value == -1 && PyErr_Occurred();
    Py_DECREF(number);
    if (bad)
        return out_of_range(object);
    if (*value < least || *value > most) {
        PyErr_Format(PyExc_ValueError, "%R does not fit the word it is stored in", object);
        return false;
    }
    return true;
}

bool capacity_of(PyObject *object, size_t *capacity)
{
    Py_ssize_t value;
    if (!offset_of(object, &value))
        return false;
    if (value < 2 || value & (value - 1)) {
        PyErr_Format(PyExc_ValueError, "capacity %zd: a power of two of at least 2 is expected", value);
        return false;
    }
    *capacity = (size_t)value;
    return true;
}

bool arguments(const char *name, Py_ssize_t given, Py_ssize_t wanted)
{
    if (given == wanted)
        return true;
    PyErr_Format(PyExc_TypeError, "%s expected %zd arguments, got %zd", name, wanted, given);
    return false;
}

uint8_t *place(PyObject *module, PyObject *const *args, Py_ssize_t length, bool write)
{
    Py_ssize_t offset;
    region_object *region = region_of(state_of(module), args[0]);
    return region && offset_of(args[1], &offset) ? region_at(region, offset, length, 8, write) : NULL;
}

Py_ssize_t take(PyObject *from, uint64_t *words, Py_ssize_t length)
{
    if (PyBytes_CheckExact(from)) { /* the usual case, at half the cost of the buffer protocol */
        Py_ssize_t has = PyBytes_Size(from);
        if (has == length)
            memcpy(words, PyBytes_AsString(from), (size_t)length);
        return has;
    }
    Py_buffer buffer;
    if (PyObject_GetBuffer(from, &buffer, PyBUF_SIMPLE))
        return -1;
    Py_ssize_t has = buffer.len;
    if (has == length)
        memcpy(words, buffer.buf, (size_t)length);
    PyBuffer_Release(&buffer);
    return has;
}

/* -- the type -------------------------------------------------------------------------------------------------------------- */

static int region_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    region_object *self = (region_object *)object;
    PyObject *from;
    if (kwargs && PyDict_Size(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "Region takes no keyword arguments");
        return -1;
    }
    if (!PyArg_ParseTuple(args, "O:Region", &from))
        return -1;
    if (self->held) {
        PyErr_SetString(PyExc_TypeError, "the region is made already");
        return -1;
    }
    if (PyObject_GetBuffer(from, &self->buffer, PyBUF_WRITABLE)) {
        PyErr_Clear(); /* an observer maps read-only */
        if (PyObject_GetBuffer(from, &self->buffer, PyBUF_SIMPLE))
            return -1;
    }
    if (self->buffer.len % 8 || (uintptr_t)self->buffer.buf % 8) {
        PyErr_Format(PyExc_ValueError, "a region of %zd bytes: the length must be a multiple of 8", self->buffer.len);
        PyBuffer_Release(&self->buffer);
        return -1;
    }
    self->held = true;
    return 0;
}

static PyObject *region_release(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    region_object *self = (region_object *)object;
    if (self->uses) {
        PyErr_Format(PyExc_BufferError, "%zd kernels still read the region: release them first", self->uses);
        return NULL;
    }
    if (self->held) {
        self->held = false;
        PyBuffer_Release(&self->buffer);
    }
    Py_RETURN_NONE;
}

static void region_dealloc(PyObject *object)
{
    region_object *self = (region_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->held)
        PyBuffer_Release(&self->buffer);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyObject *region_size(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(((region_object *)self)->buffer.len);
}

static PyObject *region_readonly(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((region_object *)self)->buffer.readonly);
}

/* One pair of methods per word: an acquire load and a release store. Which other access each pairs with depends on the word and
 * stands where it is used (docs/shared-memory.md, "Single words"). */
#define LOAD(name, type, make)                                                                                               \
    static PyObject *region_load_##name(PyObject *self, PyObject *at)                                                        \
    {                                                                                                                        \
        Py_ssize_t offset;                                                                                                   \
        uint8_t *word;                                                                                                       \
        if (!offset_of(at, &offset) ||                                                                                       \
            !(word = region_at((region_object *)self, offset, sizeof(type), sizeof(type), false)))                           \
            return NULL;                                                                                                     \
        return make(__atomic_load_n((const type *)word, __ATOMIC_ACQUIRE));                                                  \
    }
#define STORE(name, type, wide, convert)                                                                                     \
    static PyObject *region_store_##name(PyObject *self, PyObject *const *args, Py_ssize_t count)                            \
    {                                                                                                                        \
        Py_ssize_t offset;                                                                                                   \
        uint8_t *word;                                                                                                       \
        wide value;                                                                                                          \
        /* the address last: a number's own __index__ may do anything, also release the region */                            \
        if (!arguments("store_" #name, count, 2) || !offset_of(args[0], &offset) || !convert ||                              \
            !(word = region_at((region_object *)self, offset, sizeof(type), sizeof(type), true)))                            \
            return NULL;                                                                                                     \
        __atomic_store_n((type *)word, (type)value, __ATOMIC_RELEASE);                                                       \
        Py_RETURN_NONE;                                                                                                      \
    }

LOAD(u64, uint64_t, PyLong_FromUnsignedLongLong)
LOAD(i64, int64_t, PyLong_FromLongLong)
LOAD(u32, uint32_t, PyLong_FromUnsignedLong)
LOAD(i32, int32_t, PyLong_FromLong)
LOAD(u8, uint8_t, PyLong_FromUnsignedLong)
STORE(u64, uint64_t, uint64_t, unsigned_of(args[1], UINT64_MAX, &value))
STORE(i64, int64_t, int64_t, signed_of(args[1], INT64_MIN, INT64_MAX, &value))
STORE(u32, uint32_t, uint64_t, unsigned_of(args[1], UINT32_MAX, &value))
STORE(i32, int32_t, int64_t, signed_of(args[1], INT32_MIN, INT32_MAX, &value))
STORE(u8, uint8_t, uint64_t, unsigned_of(args[1], UINT8_MAX, &value))

/* Run of words: every value first, then the address, then nothing that may run Python code. */
enum { RUN_MOST = 16 };

static uint64_t *run_at(PyObject *self, const char *name, PyObject *const *args, Py_ssize_t count, int64_t *values)
{
    Py_ssize_t offset;
    if (count < 2 || count > 1 + RUN_MOST) {
        PyErr_Format(PyExc_TypeError, "%s expected an offset and 1 to %d numbers, got %zd arguments", name, RUN_MOST, count);
        return NULL;
    }
    if (!offset_of(args[0], &offset))
        return NULL;
    for (Py_ssize_t n = 1; n < count; n++)
        if (!signed_of(args[n], INT64_MIN, INT64_MAX, values + n - 1))
            return NULL;
    return (uint64_t *)region_at((region_object *)self, offset, 8 * (count - 1), 8, true);
}

static PyObject *region_store_run(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    int64_t values[RUN_MOST];
    uint64_t *word = run_at(self, "store_run", args, count, values);
    if (!word)
        return NULL;
    for (Py_ssize_t n = 0; n < count - 1; n++)
        store_release(word + n, (uint64_t)values[n]);
    Py_RETURN_NONE;
}

static PyObject *region_add_run(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    int64_t values[RUN_MOST];
    uint64_t *word = run_at(self, "add_run", args, count, values);
    if (!word)
        return NULL;
    for (Py_ssize_t n = 0; n < count - 1; n++) /* our own words: nobody else stores them */
        store_release(word + n, load_relaxed(word + n) + (uint64_t)values[n]);
    Py_RETURN_NONE;
}

static PyObject *region_read(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t offset, length;
    uint8_t *from;
    if (!arguments("read", count, 2) || !offset_of(args[0], &offset) || !offset_of(args[1], &length) ||
        !(from = region_at((region_object *)self, offset, length, 1, false)))
        return NULL;
    return PyBytes_FromStringAndSize((const char *)from, length);
}

static PyObject *region_write(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t offset;
    Py_buffer data;
    if (!arguments("write", count, 2) || !offset_of(args[0], &offset) || PyObject_GetBuffer(args[1], &data, PyBUF_SIMPLE))
        return NULL;
    uint8_t *to = region_at((region_object *)self, offset, data.len, 1, true);
    if (to)
        memmove(to, data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    if (!to)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *region_lock(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    region_object *region = (region_object *)self;
    uint8_t *begin = region_at(region, 0, region->buffer.len, 1, false);
    if (!begin)
        return NULL;
    if (mlock(begin, (size_t)region->buffer.len))
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyMethodDef region_methods[] = {
    {"load_u64", region_load_u64, METH_O, "load_u64($self, offset, /)\n--\n\nLoad a 64-bit word (acquire)."},
    {"load_i64", region_load_i64, METH_O, "load_i64($self, offset, /)\n--\n\nLoad a signed 64-bit word (acquire)."},
    {"load_u32", region_load_u32, METH_O, "load_u32($self, offset, /)\n--\n\nLoad a 32-bit word (acquire)."},
    {"load_i32", region_load_i32, METH_O, "load_i32($self, offset, /)\n--\n\nLoad a signed 32-bit word (acquire)."},
    {"load_u8", region_load_u8, METH_O, "load_u8($self, offset, /)\n--\n\nLoad one byte (acquire)."},
    {"store_u64", (PyCFunction)(void (*)(void))region_store_u64, METH_FASTCALL,
     "store_u64($self, offset, value, /)\n--\n\nStore a 64-bit word (release)."},
    {"store_i64", (PyCFunction)(void (*)(void))region_store_i64, METH_FASTCALL,
     "store_i64($self, offset, value, /)\n--\n\nStore a signed 64-bit word (release)."},
    {"store_u32", (PyCFunction)(void (*)(void))region_store_u32, METH_FASTCALL,
     "store_u32($self, offset, value, /)\n--\n\nStore a 32-bit word (release)."},
    {"store_i32", (PyCFunction)(void (*)(void))region_store_i32, METH_FASTCALL,
     "store_i32($self, offset, value, /)\n--\n\nStore a signed 32-bit word (release)."},
    {"store_u8", (PyCFunction)(void (*)(void))region_store_u8, METH_FASTCALL,
     "store_u8($self, offset, value, /)\n--\n\nStore one byte (release)."},
    {"store_run", (PyCFunction)(void (*)(void))region_store_run, METH_FASTCALL,
     "store_run($self, offset, /, *values)\n--\n\nStore signed 64-bit words one after the other (release each)."},
    {"add_run", (PyCFunction)(void (*)(void))region_add_run, METH_FASTCALL,
     "add_run($self, offset, /, *amounts)\n--\n\nAdd to 64-bit words one after the other. Single writer: not atomic."},
    {"read", (PyCFunction)(void (*)(void))region_read, METH_FASTCALL,
     "read($self, offset, length, /)\n--\n\nCopy bytes out; no order is promised inside the copy."},
    {"write", (PyCFunction)(void (*)(void))region_write, METH_FASTCALL,
     "write($self, offset, data, /)\n--\n\nCopy bytes in; no order is promised inside the copy."},
    {"lock", region_lock, METH_NOARGS, "lock($self, /)\n--\n\nKeep the region in memory (mlock)."},
    {"release", region_release, METH_NOARGS, "release($self, /)\n--\n\nLet go of the buffer."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef region_properties[] = {
    {"size", region_size, NULL, "Bytes in the region.", NULL},
    {"readonly", region_readonly, NULL, "Whether it may only be read.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot region_slots[] = {
    {Py_tp_doc, "Region(buffer, /)\n--\n\nWords and bytes of one mapped buffer; every access checks bounds and alignment."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, region_init},
    {Py_tp_dealloc, region_dealloc},
    {Py_tp_methods, region_methods},
    {Py_tp_getset, region_properties},
    {0, NULL},
};

PyType_Spec region_spec = {
    .name = "arbpipe._native.Region",
    .basicsize = sizeof(region_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = region_slots,
};
