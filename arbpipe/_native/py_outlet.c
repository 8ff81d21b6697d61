/* Outlet: one instrument's publications as a Python object. Its places are checked once, its region at every use. */
#include "bind.h"

#include <string.h>

typedef struct {
    PyObject_HEAD
    region_object *region;
    Py_ssize_t row, costs, log, bell, latency, counters[OUTLET_COUNTERS];
    Py_ssize_t end; /* of the last byte of them */
    struct outlet outlet;
    union cell_words cell; /* what is the same in each: uid and fee terms */
} outlet_object;

/* Note that `length` bytes at `offset` are of the outlet; false with an exception. */
static bool reserve(outlet_object *self, region_object *region, Py_ssize_t offset, Py_ssize_t length)
{
    if (!region_at(region, offset, length, 8, true))
        return false;
    if (offset + length > self->end)
        self->end = offset + length;
    return true;
}

/* False with an exception; nothing is kept then. */
static bool fill(outlet_object *self, PyObject *args)
{
    PyObject *region_arg, *at[5], *capacity, *counters, *slot_arg, *number[6];
    if (!PyArg_ParseTuple(args, "OOOOOOOOOOOOOOO:Outlet", &region_arg, at, at + 1, at + 2, &capacity, at + 3, at + 4, &counters,
                          &slot_arg, number, number + 1, number + 2, number + 3, number + 4, number + 5))
        return false;
    module_state *state = PyType_GetModuleState(Py_TYPE((PyObject *)self));
    region_object *region = state ? region_of(state, region_arg) : NULL;
    Py_ssize_t offsets[5];
    if (!region)
        return false;
    for (int n = 0; n < 5; n++)
        if (!offset_of(at[n], offsets + n))
            return false;
    outlet_object made = {.row = offsets[0], .costs = offsets[1], .log = offsets[2], .bell = offsets[3], .latency = offsets[4]};
    uint64_t slot, uid, rate, exponent, quantum, align, least;
    if (!capacity_of(capacity, &made.outlet.log_capacity) || !unsigned_of(slot_arg, UINT32_MAX, &slot) ||
        !unsigned_of(number[0], UINT64_MAX, &uid) || !unsigned_of(number[1], FEE_RATE_MOST_E6, &rate) ||
        !unsigned_of(number[2], FEE_EXPONENT_MOST, &exponent) || !unsigned_of(number[3], UINT16_MAX, &quantum) ||
        !unsigned_of(number[4], UINT32_MAX, &align) || !unsigned_of(number[5], UINT64_MAX, &least))
        return false;
    if (made.outlet.log_capacity > (size_t)1 << 40)
        return PyErr_Format(PyExc_IndexError, "a log of %zu entries is outside the region", made.outlet.log_capacity) != NULL;
    Py_ssize_t counted = PySequence_Size(counters);
    if (counted < 0)
        return false;
    if (counted > OUTLET_COUNTERS)
        return PyErr_Format(PyExc_ValueError, "%zd counters: at most %d", counted, OUTLET_COUNTERS) != NULL;
    for (Py_ssize_t n = 0; n < counted; n++) {
        PyObject *one = PySequence_GetItem(counters, n);
        bool good = one && offset_of(one, made.counters + n);
        Py_XDECREF(one);
        if (!good)
            return false;
    }
    /* the places last: everything above may have run Python code, also code that releases the region or makes us */
    if (self->region) {
        PyErr_SetString(PyExc_TypeError, "the outlet is made already");
        return false;
    }
    if (!reserve(&made, region, made.row, ROW_SIZE) || !reserve(&made, region, made.costs, 8) ||
        !reserve(&made, region, made.log, (Py_ssize_t)(HEAD_BYTES + made.outlet.log_capacity * sizeof(uint32_t))) ||
        !reserve(&made, region, made.bell, BELL_BYTES) || !reserve(&made, region, made.latency, HISTOGRAM_SIZE))
        return false;
    for (Py_ssize_t n = 0; n < counted; n++)
        if (!reserve(&made, region, made.counters[n], 8))
            return false;
    made.outlet.counted = (int)counted;
    made.outlet.slot = (uint32_t)slot;
    made.outlet.min_size_e2 = least;
    made.cell.cell.uid = uid;
    made.cell.cell.fee_rate_e6 = (uint32_t)rate;
    made.cell.cell.fee_exponent = (uint16_t)exponent;
    made.cell.cell.fee_quantum_e6 = (uint16_t)quantum;
    made.cell.cell.fee_align_e6 = (uint32_t)align;
    memcpy((char *)self + sizeof(PyObject), (char *)&made + sizeof(PyObject), sizeof made - sizeof(PyObject));
    self->region = region;
    Py_INCREF((PyObject *)region);
    return true;
}

static int outlet_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    if (kwargs && PyDict_Size(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "Outlet takes no keyword arguments");
        return -1;
    }
    return fill((outlet_object *)object, args) ? 0 : -1;
}

static void outlet_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF((PyObject *)((outlet_object *)object)->region);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* Every price from 0 to a dollar, no size below 0: the costs are computed in unsigned numbers. */
static bool are_quotes(const int32_t *asks)
{
    for (int n = 0; n < DEPTH; n++)
        if ((uint32_t)asks[2 * n] > ONE_DOLLAR_E4 || asks[2 * n + 1] < 0) {
            PyErr_Format(PyExc_ValueError, "(%d, %d) is no quote: a price_e4 of 0 to 10000 and a size_e2 are expected",
                         (int)asks[2 * n], (int)asks[2 * n + 1]);
            return false;
        }
    return true;
}

static PyObject *py_outlet_publish(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    outlet_object *self = (outlet_object *)object;
    uint64_t connection, epoch, flags, tick;
    int verified;
    union cell_words made = self->cell; /* never changes once it is made */
    struct cell *cell = &made.cell;
    if (!arguments("publish", count, 9) || !unsigned_of(args[0], UINT32_MAX, &connection) ||
        !unsigned_of(args[1], UINT32_MAX, &epoch) || !unsigned_of(args[2], UINT32_MAX, &flags) ||
        !signed_of(args[3], INT64_MIN, INT64_MAX, &cell->venue_ms) || !signed_of(args[4], INT64_MIN, INT64_MAX, &cell->recv_ns) ||
        !unsigned_of(args[5], UINT32_MAX, &tick) || !put_levels(args[6], cell->yes_asks) ||
        !put_levels(args[7], cell->no_asks) || (verified = PyObject_IsTrue(args[8])) < 0)
        return NULL;
    if (!are_quotes(cell->yes_asks) || !are_quotes(cell->no_asks))
        return NULL;
    cell->connection = (uint32_t)connection;
    cell->epoch = (uint32_t)epoch;
    cell->flags = (uint32_t)flags;
    cell->tick_e4 = (uint32_t)tick;
    /* from here on no Python code runs; the region may have been released since, and made again over something shorter */
    uint8_t *base = self->region ? region_at(self->region, 0, self->end, 8, true) : NULL;
    if (!base) {
        if (!self->region)
            PyErr_SetString(PyExc_ValueError, "the outlet is not made");
        return NULL;
    }
    struct outlet outlet = self->outlet;
    outlet.row = base + self->row;
    outlet.costs = (uint64_t *)(base + self->costs);
    outlet.log = base + self->log;
    outlet.bell = base + self->bell;
    outlet.latency = base + self->latency;
    for (int n = 0; n < outlet.counted; n++)
        outlet.counters[n] = (uint64_t *)(base + self->counters[n]);
    return PyLong_FromUnsignedLongLong(outlet_publish(&outlet, &made, verified));
}

static PyMethodDef outlet_methods[] = {
    {"publish", (PyCFunction)(void (*)(void))py_outlet_publish, METH_FASTCALL,
     "publish($self, connection, epoch, flags, venue_ms, recv_ns, tick_e4, yes_asks, no_asks, verified, /)\n--\n\n"
     "Publish row, costs and change unless the row says it already; return the version that stands."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot outlet_slots[] = {
    {Py_tp_doc, "Outlet(region, row, costs, log, log_capacity, bell, latency, counters, slot, uid, fee_rate_e6, fee_exponent, "
                "fee_quantum_e6, fee_align_e6, min_size_e2, /)\n--\n\nWhere one instrument is published, and its terms."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, outlet_init},
    {Py_tp_dealloc, outlet_dealloc},
    {Py_tp_methods, outlet_methods},
    {0, NULL},
};

FUNCTION(py_histogram_record)
{
    int64_t value_ns;
    if (!arguments("histogram_record", count, 3) || !signed_of(args[2], INT64_MIN, INT64_MAX, &value_ns))
        return NULL;
    uint8_t *histogram = place(module, args, HISTOGRAM_SIZE, true);
    if (!histogram)
        return NULL;
    histogram_record(histogram, value_ns);
    Py_RETURN_NONE;
}

PyMethodDef outlet_functions[] = {
    METHOD(histogram_record, "(region, base, value_ns, /)\n--\n\nCount a latency. Single writer."),
    {NULL, NULL, 0, NULL},
};

PyType_Spec outlet_spec = {
    .name = "arbpipe._native.Outlet",
    .basicsize = sizeof(outlet_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = outlet_slots,
};
