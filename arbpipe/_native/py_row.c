/* The row's functions over a Region: cells from bytes and from numbers, and back. */
#include "bind.h"

#include <string.h>

enum { CELL_NUMBERS = 12 };

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

/* Levels from an array of words price_e4 | size_e2 << 32, which is how a book that is in a hurry keeps them. */
static bool put_words(PyObject *levels, int32_t *into)
{
    Py_buffer buffer;
    if (PyObject_GetBuffer(levels, &buffer, PyBUF_ND | PyBUF_FORMAT))
        return false;
    bool good = buffer.ndim == 1 && buffer.itemsize == 8 && buffer.format && !strcmp(buffer.format, "q");
    if (!good)
        PyErr_Format(PyExc_TypeError, "levels as a buffer: an array of type q is expected");
    else if (buffer.len)
        memcpy(into, buffer.buf, (size_t)(buffer.len < 8 * DEPTH ? buffer.len : 8 * DEPTH));
    PyBuffer_Release(&buffer);
    return good;
}

bool put_levels(PyObject *levels, int32_t *into)
{
    bool tuple = PyTuple_CheckExact(levels), list = !tuple && PyList_CheckExact(levels);
    if (!tuple && !list && PyObject_CheckBuffer(levels))
        return put_words(levels, into);
    Py_ssize_t count = PySequence_Size(levels);
    if (count < 0)
        return false;
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

FUNCTION(py_row_publish)
{
    union cell_words made;
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
    if (PyObject_GetBuffer(args[2], &into, PyBUF_WRITABLE))
        return NULL;
    uint8_t *row = place(module, args, ROW_SIZE, false); /* after the buffer: getting one may run Python code */
    PyObject *result = NULL;
    if (row && into.len != CELL_SIZE) {
        PyErr_Format(PyExc_ValueError, "a buffer of %zd bytes: %d expected", into.len, CELL_SIZE);
    } else if (row) {
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
    union cell_words copy;
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

PyMethodDef row_functions[] = {
    METHOD(row_write, "(region, offset, cell, /)\n--\n\nPublish a cell in the row; return its version."),
    METHOD(row_publish,
           "(region, offset, uid, connection, epoch, venue_ms, recv_ns, publish_ns, flags, tick_e4, fee_rate_e6, fee_exponent, "
           "fee_quantum_e6, fee_align_e6, yes_asks, no_asks, /)\n--\n\nPublish a cell made of its fields; return its version."),
    METHOD(row_read, "(region, offset, into, /)\n--\n\nCopy the current cell; return its version, 0 or ROW_BUSY."),
    METHOD(row_fetch, "(region, offset, /)\n--\n\nThe version and every field of the current cell, or None."),
    {NULL, NULL, 0, NULL},
};
