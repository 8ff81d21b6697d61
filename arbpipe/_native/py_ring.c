/* The functions of change log, opportunity ring and doorbell over a Region. Each checks every offset before it reads. */
#include "bind.h"

#include <string.h>

enum { RING_STRIDE_MOST = 4096, BELL_WORDS = 16 };

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
    Py_ssize_t offsets[BELL_WORDS];
    uint64_t expected[BELL_WORDS];
    int64_t spin_ns, timeout_ns;
    if (!arguments("bell_wait", count, 6))
        return NULL;
    Py_ssize_t n_words = PySequence_Size(args[2]), n_expected = n_words < 0 ? -1 : PySequence_Size(args[3]);
    if (n_words < 0 || n_expected < 0)
        return NULL;
    if (n_words != n_expected || n_words > BELL_WORDS)
        return PyErr_Format(PyExc_ValueError, "%zd words and %zd expected values: as many of both, at most %d", n_words,
                            n_expected, BELL_WORDS);
    for (Py_ssize_t n = 0; n < n_words; n++) {
        PyObject *at = PySequence_GetItem(args[2], n), *value = at ? PySequence_GetItem(args[3], n) : NULL;
        bool good = value && offset_of(at, offsets + n) && unsigned_of(value, UINT64_MAX, expected + n);
        Py_XDECREF(at);
        Py_XDECREF(value);
        if (!good)
            return NULL;
    }
    if (!signed_of(args[4], 0, INT64_MAX / 2, &spin_ns) || !signed_of(args[5], 0, INT64_MAX / 2, &timeout_ns))
        return NULL;
    /* from here on no Python code runs until the region is held */
    uint8_t *bell = place(module, args, BELL_BYTES, true);
    if (!bell)
        return NULL;
    region_object *region = (region_object *)args[0];
    for (Py_ssize_t n = 0; n < n_words; n++)
        if (!(words[n] = (const uint64_t *)region_at(region, offsets[n], 8, 8, false)))
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

PyMethodDef ring_functions[] = {
    METHOD(log_push, "(region, base, capacity, slot, /)\n--\n\nAppend a slot to the change log; return the new head."),
    METHOD(log_drain, "(region, base, capacity, tail, /)\n--\n\nAll slots from tail on, and the position after them."),
    METHOD(ring_push, "(region, base, capacity, stride, entry, /)\n--\n\nWrite an entry at the head; return its position."),
    METHOD(ring_read, "(region, base, capacity, stride, position, /)\n--\n\nThe entry at position, or None."),
    METHOD(bell_ring, "(region, bell, /)\n--\n\nWake whoever waits; return whether somebody did."),
    METHOD(bell_wait, "(region, bell, words, expected, spin_ns, timeout_ns, /)\n--\n\nWait until one of the words differs."),
    METHOD(pause, "(times, /)\n--\n\nTell the processor that this is a spin loop."),
    {NULL, NULL, 0, NULL},
};
