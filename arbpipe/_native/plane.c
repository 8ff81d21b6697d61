/* The functions over a Region: row, change log, ring, doorbell. Each checks every offset before it reads. */
#include "bind.h"

#include <string.h>

enum { RING_STRIDE_MOST = 4096, BELL_WORDS = 16, DEPTH = 8, CELL_NUMBERS = 12 };

#define FUNCTION(name) static PyObject *name(PyObject *module, PyObject *const *args, Py_ssize_t count)

/* The region argument and a checked place in it; NULL with an exception. */
static uint8_t *place(PyObject *module, PyObject *const *args, Py_ssize_t length, bool write)
{
    Py_ssize_t offset;
    region_object *region = region_of(state_of(module), args[0]);
    return region && offset_of(args[1], &offset) ? region_at(region, offset, length, 8, write) : NULL;
}

/* A log or ring of `capacity` entries of `stride` bytes. */
static uint8_t *ring_place(PyObject *module, PyObject *const *args, size_t capacity, size_t stride, bool write)
{
    /* beyond this no region is: the product below must not overflow */
    if (capacity > (size_t)1 << 40) {
        PyErr_Format(PyExc_IndexError, "a ring of %zu entries is outside the region", capacity);
        return NULL;
    }
    return place(module, args, (Py_ssize_t)(HEAD_BYTES + capacity * stride), write);
}

/* -- row ------------------------------------------------------------------------------------------------------------------- */

/* Copy `length` bytes out of any buffer, into words because the caller's buffer need not be aligned; return the buffer's own
 * length, -1 with an exception. */
static Py_ssize_t take(PyObject *from, uint64_t *words, Py_ssize_t length)
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

FUNCTION(py_row_write)
{
    uint64_t words[CELL_SIZE / 8];
    Py_ssize_t length;
    if (!arguments("row_write", count, 3) || (length = take(args[2], words, CELL_SIZE)) < 0)
        return NULL;
    uint8_t *row = place(module, args, ROW_SIZE, true);
    if (!row)
        return NULL;
    if (length != CELL_SIZE)
        return PyErr_Format(PyExc_ValueError, "a cell of %zd bytes: %d expected", length, CELL_SIZE);
    return PyLong_FromUnsignedLongLong(row_write(row, words));
}

/* Levels as (price_e4, size_e2) pairs, best first; the rest of the eight is zero. False with an exception. */
static bool put_levels(PyObject *levels, int32_t *into)
{
    Py_ssize_t count = PySequence_Size(levels);
    if (count < 0)
        return false;
    bool tuple = PyTuple_CheckExact(levels), list = !tuple && PyList_CheckExact(levels);
    for (Py_ssize_t n = 0; n < count && n < DEPTH; n++) {
        PyObject *known = tuple ? PyTuple_GetItem(levels, n) : list ? PyList_GetItem(levels, n) : NULL; /* borrowed */
        if (known && PyTuple_CheckExact(known) && PyTuple_Size(known) == 2) {
            PyObject *price = PyTuple_GetItem(known, 0), *size = PyTuple_GetItem(known, 1);
            if (PyLong_CheckExact(price) && PyLong_CheckExact(size)) { /* the usual case */
                int64_t words[2] = {PyLong_AsLongLong(price), PyLong_AsLongLong(size)};
                if (words[0] >= INT32_MIN && words[0] <= INT32_MAX && words[1] >= INT32_MIN && words[1] <= INT32_MAX &&
                    ((words[0] != -1 && words[1] != -1) || !PyErr_Occurred())) {
                    into[2 * n] = (int32_t)words[0];
                    into[2 * n + 1] = (int32_t)words[1];
                    continue;
                }
                PyErr_Clear(); /* below it is said again, in our words */
            }
        }
        PyObject *level = PySequence_GetItem(levels, n);
        if (!level)
            return false;
        bool good = PySequence_Size(level) == 2;
        if (!good && !PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "%R is not a level (price_e4, size_e2)", level);
        for (Py_ssize_t m = 0; good && m < 2; m++) {
            int64_t value = 0;
            PyObject *number = PySequence_GetItem(level, m);
            good = number && signed_of(number, INT32_MIN, INT32_MAX, &value);
            Py_XDECREF(number);
            into[2 * n + m] = (int32_t)value;
        }
        Py_DECREF(level);
        if (!good)
            return false;
    }
    return true;
}

/* The cell of layout.py, field by field. */
struct cell {
    uint64_t uid;
    uint32_t connection, epoch;
    int64_t venue_ms, recv_ns, publish_ns;
    uint32_t flags, tick_e4, fee_rate_e6;
    uint16_t fee_exponent, fee_quantum_e6;
    uint32_t fee_align_e6, reserved;
    int32_t yes_asks[2 * DEPTH], no_asks[2 * DEPTH];
};
_Static_assert(sizeof(struct cell) == CELL_SIZE, "the cell has the layout's size");

FUNCTION(py_row_publish)
{
    union {
        struct cell cell;
        uint64_t words[CELL_SIZE / 8];
    } made;
    uint64_t u[CELL_NUMBERS];
    int64_t i[CELL_NUMBERS];
    if (!arguments("row_publish", count, 2 + CELL_NUMBERS + 2))
        return NULL;
    PyObject *const *field = args + 2;
    memset(&made, 0, sizeof made);
    if (!unsigned_of(field[0], UINT64_MAX, u + 0) || !unsigned_of(field[1], UINT32_MAX, u + 1) ||
        !unsigned_of(field[2], UINT32_MAX, u + 2) || !signed_of(field[3], INT64_MIN, INT64_MAX, i + 3) ||
        !signed_of(field[4], INT64_MIN, INT64_MAX, i + 4) || !signed_of(field[5], INT64_MIN, INT64_MAX, i + 5) ||
        !unsigned_of(field[6], UINT32_MAX, u + 6) || !unsigned_of(field[7], UINT32_MAX, u + 7) ||
        !unsigned_of(field[8], UINT32_MAX, u + 8) || !unsigned_of(field[9], UINT16_MAX, u + 9) ||
        !unsigned_of(field[10], UINT16_MAX, u + 10) || !unsigned_of(field[11], UINT32_MAX, u + 11) ||
        !put_levels(field[12], made.cell.yes_asks) || !put_levels(field[13], made.cell.no_asks))
        return NULL;
    made.cell.uid = u[0];
    made.cell.connection = (uint32_t)u[1];
    made.cell.epoch = (uint32_t)u[2];
    made.cell.venue_ms = i[3];
    made.cell.recv_ns = i[4];
    made.cell.publish_ns = i[5];
    made.cell.flags = (uint32_t)u[6];
    made.cell.tick_e4 = (uint32_t)u[7];
    made.cell.fee_rate_e6 = (uint32_t)u[8];
    made.cell.fee_exponent = (uint16_t)u[9];
    made.cell.fee_quantum_e6 = (uint16_t)u[10];
    made.cell.fee_align_e6 = (uint32_t)u[11];
    uint8_t *row = place(module, args, ROW_SIZE, true);
    return row ? PyLong_FromUnsignedLongLong(row_write(row, made.words)) : NULL;
}

FUNCTION(py_row_read)
{
    uint64_t words[CELL_SIZE / 8];
    Py_buffer into;
    if (!arguments("row_read", count, 3))
        return NULL;
    uint8_t *row = place(module, args, ROW_SIZE, false);
    if (!row || PyObject_GetBuffer(args[2], &into, PyBUF_WRITABLE))
        return NULL;
    PyObject *result = NULL;
    if (into.len != CELL_SIZE) {
        PyErr_Format(PyExc_ValueError, "a buffer of %zd bytes: %d expected", into.len, CELL_SIZE);
    } else {
        uint64_t version = 0;
        enum row_copied copied = row_read(row, words, &version);
        if (copied == ROW_COPIED)
            memcpy(into.buf, words, CELL_SIZE);
        result = copied == ROW_BUSY ? PyLong_FromLong(-1) : PyLong_FromUnsignedLongLong(version);
    }
    PyBuffer_Release(&into);
    return result;
}

/* ((price_e4, size_e2), …) up to the first size that is not positive. */
static PyObject *levels_of(const int32_t *words)
{
    Py_ssize_t count = 0;
    while (count < DEPTH && words[2 * count + 1] > 0)
        count++;
    PyObject *levels = PyTuple_New(count);
    for (Py_ssize_t n = 0; levels && n < count; n++) {
        PyObject *level = PyTuple_New(2), *price = PyLong_FromLong(words[2 * n]), *size = PyLong_FromLong(words[2 * n + 1]);
        if (!level || !price || !size) {
            Py_XDECREF(level);
            Py_XDECREF(price);
            Py_XDECREF(size);
            Py_CLEAR(levels);
            break;
        }
        PyTuple_SetItem(level, 0, price);
        PyTuple_SetItem(level, 1, size);
        PyTuple_SetItem(levels, n, level);
    }
    return levels;
}

FUNCTION(py_row_fetch)
{
    union {
        struct cell cell;
        uint64_t words[CELL_SIZE / 8];
    } copy;
    if (!arguments("row_fetch", count, 2))
        return NULL;
    uint8_t *row = place(module, args, ROW_SIZE, false);
    if (!row)
        return NULL;
    uint64_t version;
    if (row_read(row, copy.words, &version) != ROW_COPIED)
        Py_RETURN_NONE;
    const struct cell *c = &copy.cell;
    PyObject *numbers[] = {
        PyLong_FromUnsignedLongLong(version),
        PyLong_FromUnsignedLongLong(c->uid),
        PyLong_FromUnsignedLong(c->connection),
        PyLong_FromUnsignedLong(c->epoch),
        PyLong_FromLongLong(c->venue_ms),
        PyLong_FromLongLong(c->recv_ns),
        PyLong_FromLongLong(c->publish_ns),
        PyLong_FromUnsignedLong(c->flags),
        PyLong_FromUnsignedLong(c->tick_e4),
        PyLong_FromUnsignedLong(c->fee_rate_e6),
        PyLong_FromUnsignedLong(c->fee_exponent),
        PyLong_FromUnsignedLong(c->fee_quantum_e6),
        PyLong_FromUnsignedLong(c->fee_align_e6),
        levels_of(c->yes_asks),
        levels_of(c->no_asks),
    };
    Py_ssize_t n, fields = sizeof numbers / sizeof *numbers;
    PyObject *result = PyTuple_New(fields);
    for (n = 0; n < fields; n++)
        if (!numbers[n])
            Py_CLEAR(result);
    for (n = 0; n < fields; n++)
        if (result)
            PyTuple_SetItem(result, n, numbers[n]);
        else
            Py_XDECREF(numbers[n]);
    return result;
}

/* -- change log and ring --------------------------------------------------------------------------------------------------- */

PyObject *raise_overrun(module_state *state, uint64_t head)
{
    PyObject *text = PyUnicode_FromFormat("overrun: the writer stands at %llu", (unsigned long long)head);
    PyObject *error = text ? PyObject_CallFunctionObjArgs(state->overrun, text, NULL) : NULL;
    PyObject *number = PyLong_FromUnsignedLongLong(head);
    if (error && number && !PyObject_SetAttrString(error, "head", number))
        PyErr_SetObject(state->overrun, error);
    Py_XDECREF(text);
    Py_XDECREF(error);
    Py_XDECREF(number);
    return NULL;
}

FUNCTION(py_log_push)
{
    size_t capacity;
    uint64_t slot;
    if (!arguments("log_push", count, 4) || !capacity_of(args[2], &capacity) || !unsigned_of(args[3], UINT32_MAX, &slot))
        return NULL;
    uint8_t *base = ring_place(module, args, capacity, sizeof(uint32_t), true);
    return base ? PyLong_FromUnsignedLongLong(log_push(base, capacity, (uint32_t)slot)) : NULL;
}

FUNCTION(py_log_drain)
{
    size_t capacity, found;
    uint64_t tail, head;
    if (!arguments("log_drain", count, 4) || !capacity_of(args[2], &capacity) || !unsigned_of(args[3], UINT64_MAX, &tail))
        return NULL;
    uint8_t *base = ring_place(module, args, capacity, sizeof(uint32_t), false);
    if (!base)
        return NULL;
    uint32_t *slots = PyMem_Malloc(capacity * sizeof *slots);
    if (!slots)
        return PyErr_NoMemory();
    enum taken taken = log_drain(base, capacity, tail, slots, &found, &head);
    PyObject *result = NULL;
    if (taken == TAKEN_OVERRUN) {
        raise_overrun(state_of(module), head);
    } else {
        PyObject *list = PyList_New((Py_ssize_t)found);
        for (size_t n = 0; list && n < found; n++) {
            PyObject *slot = PyLong_FromUnsignedLong(slots[n]);
            if (!slot || PyList_SetItem(list, (Py_ssize_t)n, slot))
                Py_CLEAR(list);
        }
        result = list ? Py_BuildValue("(NK)", list, (unsigned long long)head) : NULL;
    }
    PyMem_Free(slots);
    return result;
}

static bool stride_of(PyObject *object, size_t *stride)
{
    Py_ssize_t value;
    if (!offset_of(object, &value))
        return false;
    if (value < 8 || value > RING_STRIDE_MOST || value % 8) {
        PyErr_Format(PyExc_ValueError, "stride %zd: a multiple of 8 up to %d is expected", value, RING_STRIDE_MOST);
        return false;
    }
    *stride = (size_t)value;
    return true;
}

FUNCTION(py_ring_push)
{
    size_t capacity, stride;
    uint64_t words[RING_STRIDE_MOST / 8];
    Py_ssize_t length;
    if (!arguments("ring_push", count, 5) || !capacity_of(args[2], &capacity) || !stride_of(args[3], &stride) ||
        (length = take(args[4], words, (Py_ssize_t)stride)) < 0)
        return NULL;
    if (length != (Py_ssize_t)stride)
        return PyErr_Format(PyExc_ValueError, "an entry of %zd bytes: %zu expected", length, stride);
    uint8_t *base = ring_place(module, args, capacity, stride, true);
    return base ? PyLong_FromUnsignedLongLong(ring_push(base, capacity, stride, words)) : NULL;
}

FUNCTION(py_ring_read)
{
    size_t capacity, stride;
    uint64_t words[RING_STRIDE_MOST / 8], position, head;
    if (!arguments("ring_read", count, 5) || !capacity_of(args[2], &capacity) || !stride_of(args[3], &stride) ||
        !unsigned_of(args[4], UINT64_MAX, &position))
        return NULL;
    uint8_t *base = ring_place(module, args, capacity, stride, false);
    if (!base)
        return NULL;
    switch (ring_read(base, capacity, stride, position, words, &head)) {
    case TAKEN_OK:
        return PyBytes_FromStringAndSize((const char *)words, (Py_ssize_t)stride);
    case TAKEN_NOTHING:
        Py_RETURN_NONE;
    default:
        return raise_overrun(state_of(module), head);
    }
}

/* -- doorbell -------------------------------------------------------------------------------------------------------------- */

FUNCTION(py_bell_ring)
{
    if (!arguments("bell_ring", count, 2))
        return NULL;
    uint8_t *bell = place(module, args, BELL_BYTES, true);
    return bell ? PyBool_FromLong(bell_ring(bell)) : NULL;
}

FUNCTION(py_bell_wait)
{
    const uint64_t *words[BELL_WORDS];
    uint64_t expected[BELL_WORDS];
    int64_t spin_ns, timeout_ns;
    if (!arguments("bell_wait", count, 6))
        return NULL;
    region_object *region = region_of(state_of(module), args[0]);
    uint8_t *bell = region ? place(module, args, BELL_BYTES, true) : NULL;
    if (!bell)
        return NULL;
    Py_ssize_t n_words = PySequence_Size(args[2]), n_expected = PySequence_Size(args[3]);
    if (n_words < 0 || n_expected < 0)
        return NULL;
    if (n_words != n_expected || n_words > BELL_WORDS)
        return PyErr_Format(PyExc_ValueError, "%zd words and %zd expected values: as many of both, at most %d", n_words,
                            n_expected, BELL_WORDS);
    for (Py_ssize_t n = 0; n < n_words; n++) {
        Py_ssize_t offset;
        PyObject *at = PySequence_GetItem(args[2], n), *value = PySequence_GetItem(args[3], n);
        bool good = at && value && offset_of(at, &offset) &&
                    (words[n] = (const uint64_t *)region_at(region, offset, 8, 8, false)) &&
                    unsigned_of(value, UINT64_MAX, expected + n);
        Py_XDECREF(at);
        Py_XDECREF(value);
        if (!good)
            return NULL;
    }
    if (!signed_of(args[4], 0, INT64_MAX / 2, &spin_ns) || !signed_of(args[5], 0, INT64_MAX / 2, &timeout_ns))
        return NULL;
    enum waited waited;
    region->uses++; /* nobody releases the region under a sleeper */
    Py_BEGIN_ALLOW_THREADS
    waited = bell_wait(bell, words, expected, (size_t)n_words, spin_ns, timeout_ns);
    Py_END_ALLOW_THREADS
    region->uses--;
    if (waited == WAIT_INTERRUPTED && PyErr_CheckSignals())
        return NULL;
    return PyBool_FromLong(waited == WAIT_CHANGED);
}

FUNCTION(py_pause)
{
    Py_ssize_t times;
    if (!arguments("pause", count, 1) || !offset_of(args[0], &times))
        return NULL;
    (void)module;
    for (Py_ssize_t n = 0; n < times; n++)
        cpu_pause();
    Py_RETURN_NONE;
}

#define METHOD(name, text) {#name, (PyCFunction)(void (*)(void))py_##name, METH_FASTCALL, #name text}

PyMethodDef plane_functions[] = {
    METHOD(row_write, "(region, offset, cell, /)\n--\n\nPublish a cell in the row; return its version."),
    METHOD(row_publish,
           "(region, offset, uid, connection, epoch, venue_ms, recv_ns, publish_ns, flags, tick_e4, fee_rate_e6, fee_exponent, "
           "fee_quantum_e6, fee_align_e6, yes_asks, no_asks, /)\n--\n\nPublish a cell made of its fields; return its version."),
    METHOD(row_read, "(region, offset, into, /)\n--\n\nCopy the current cell; return its version, 0 or ROW_BUSY."),
    METHOD(row_fetch, "(region, offset, /)\n--\n\nThe version and every field of the current cell, or None."),
    METHOD(log_push, "(region, base, capacity, slot, /)\n--\n\nAppend a slot to the change log; return the new head."),
    METHOD(log_drain, "(region, base, capacity, tail, /)\n--\n\nAll slots from tail on, and the position after them."),
    METHOD(ring_push, "(region, base, capacity, stride, entry, /)\n--\n\nWrite an entry at the head; return its position."),
    METHOD(ring_read, "(region, base, capacity, stride, position, /)\n--\n\nThe entry at position, or None."),
    METHOD(bell_ring, "(region, bell, /)\n--\n\nWake whoever waits; return whether somebody did."),
    METHOD(bell_wait, "(region, bell, words, expected, spin_ns, timeout_ns, /)\n--\n\nWait until one of the words differs."),
    METHOD(pause, "(times, /)\n--\n\nTell the processor that this is a spin loop."),
    {NULL, NULL, 0, NULL},
};
