/* Kernel: the detector's first look as a Python object. */
#include "bind.h"

#include <string.h>

typedef struct {
    PyObject_HEAD
    struct kernel kernel;
    region_object *region; /* kept, and kept from being released */
    Py_ssize_t busy;       /* results being made of its arrays: making one may run a finalizer, which may release us */
    module_state *state;
} kernel_object;

/* A contiguous array of 32-bit items; false with an exception. */
static bool items_of(PyObject *from, const char *what, Py_buffer *buffer)
{
    if (PyObject_GetBuffer(from, buffer, PyBUF_ND))
        return false;
    if (buffer->itemsize != 4 || (buffer->len && (uintptr_t)buffer->buf % 4) || buffer->len / 4 > INT32_MAX) {
        PyErr_Format(PyExc_ValueError, "%s: a contiguous array of 32-bit numbers is expected", what);
        PyBuffer_Release(buffer);
        return false;
    }
    return true;
}

/* ptr begins at 0, never falls and ends at the number of items; every item is below `below`. */
static bool is_csr(const char *what, const Py_buffer *ptr, const Py_buffer *items, uint32_t below)
{
    const uint32_t *p = ptr->buf, *item = items->buf;
    Py_ssize_t rows = ptr->len / 4 - 1, count = items->len / 4;
    bool good = rows >= 0 && p[0] == 0 && p[rows] == (uint32_t)count;
    for (Py_ssize_t n = 0; good && n < rows; n++)
        good = p[n] <= p[n + 1];
    for (Py_ssize_t n = 0; good && n < count; n++)
        good = item[n] < below;
    if (!good)
        PyErr_Format(PyExc_ValueError, "%s: the pointers must rise from 0 to %zd, the items stay below %lu", what, count,
                     (unsigned long)below);
    return good;
}

static void let_go(kernel_object *self)
{
    if (self->region) {
        self->region->uses--;
        Py_CLEAR(self->region);
        kernel_free(&self->kernel);
        memset(&self->kernel, 0, sizeof self->kernel);
    }
}

/* False with an exception. */
static bool fill(kernel_object *self, PyObject *args)
{
    PyObject *region_arg, *costs_arg, *slots_arg, *logs, *tails, *capacity, *from[5];
    Py_ssize_t costs, slots;
    long long threshold;
    static const char *const names[] = {"prop_ptr", "prop_claims", "cover_ptr", "cover_props", "cover_k"};
    if (!PyArg_ParseTuple(args, "OOOOOOOOOOOL:Kernel", &region_arg, &costs_arg, &slots_arg, &logs, &tails, &capacity, from,
                          from + 1, from + 2, from + 3, from + 4, &threshold))
        return false;
    module_state *state = PyType_GetModuleState(Py_TYPE((PyObject *)self));
    region_object *region = state ? region_of(state, region_arg) : NULL;
    if (!region || !offset_of(costs_arg, &costs) || !offset_of(slots_arg, &slots))
        return false;
    if (slots < 0 || slots > INT32_MAX / 2)
        return PyErr_Format(PyExc_ValueError, "%zd slots: 0 to %d are possible", slots, INT32_MAX / 2) != NULL;
    struct kernel kernel = {.slots = (uint32_t)slots, .threshold_e6 = threshold};
    Py_ssize_t bases[KERNEL_LOGS];
    if (!capacity_of(capacity, &kernel.capacity))
        return false;
    Py_ssize_t n_logs = PySequence_Size(logs), n_tails = n_logs < 0 ? -1 : PySequence_Size(tails);
    if (n_logs < 0 || n_tails < 0)
        return false;
    if (n_logs != n_tails || n_logs > KERNEL_LOGS)
        return PyErr_Format(PyExc_ValueError, "%zd logs and %zd tails: as many of both, at most %d", n_logs, n_tails,
                            KERNEL_LOGS) != NULL;
    if (kernel.capacity > (size_t)INT32_MAX)
        return PyErr_Format(PyExc_IndexError, "a log of %zu entries is outside the region", kernel.capacity) != NULL;
    for (Py_ssize_t n = 0; n < n_logs; n++) {
        PyObject *at = PySequence_GetItem(logs, n), *tail = at ? PySequence_GetItem(tails, n) : NULL;
        bool good = tail && offset_of(at, bases + n) && unsigned_of(tail, UINT64_MAX, kernel.tail + n);
        Py_XDECREF(at);
        Py_XDECREF(tail);
        if (!good)
            return false;
    }
    kernel.logs = (uint32_t)n_logs;

    Py_buffer arrays[5];
    int open = 0;
    while (open < 5 && items_of(from[open], names[open], arrays + open))
        open++;
    /* the addresses last: everything above may have run Python code, also code that releases the region or makes us */
    bool good = open == 5 && (kernel.costs = region_at(region, costs, 8 * slots, 8, false));
    for (Py_ssize_t n = 0; good && n < n_logs; n++)
        good = (kernel.log[n] = region_at(region, bases[n], (Py_ssize_t)(HEAD_BYTES + 4 * kernel.capacity), 8, false));
    if (good && self->region) {
        PyErr_SetString(PyExc_TypeError, "the kernel is made already");
        good = false;
    }
    if (good) {
        kernel.props = arrays[0].len >= 4 ? (uint32_t)(arrays[0].len / 4 - 1) : 0;
        kernel.covers = arrays[2].len >= 4 ? (uint32_t)(arrays[2].len / 4 - 1) : 0;
        good = is_csr("propositions", arrays, arrays + 1, 2 * kernel.slots) &&
               is_csr("covers", arrays + 2, arrays + 3, kernel.props);
        if (good) {
            good = arrays[4].len / 4 == (Py_ssize_t)kernel.covers;
            if (!good)
                PyErr_Format(PyExc_ValueError, "cover_k: %zd numbers for %lu covers", arrays[4].len / 4,
                             (unsigned long)kernel.covers);
        }
    }
    if (good) {
        self->kernel = kernel;
        self->region = region;
        self->state = state;
        Py_INCREF((PyObject *)region);
        region->uses++;
        good = kernel_make(&self->kernel, arrays[0].buf, arrays[1].buf, arrays[2].buf, arrays[3].buf, arrays[4].buf);
        if (!good) {
            let_go(self);
            PyErr_NoMemory();
        }
    }
    while (open)
        PyBuffer_Release(arrays + --open);
    return good;
}

static int kernel_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    kernel_object *self = (kernel_object *)object;
    if (kwargs && PyDict_Size(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "Kernel takes no keyword arguments");
        return -1;
    }
    if (self->region) {
        PyErr_SetString(PyExc_TypeError, "the kernel is made already");
        return -1;
    }
    return fill(self, args) ? 0 : -1;
}

static void kernel_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    let_go((kernel_object *)object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static struct kernel *kernel_of(PyObject *object)
{
    kernel_object *self = (kernel_object *)object;
    if (self->region)
        return &self->kernel;
    PyErr_SetString(PyExc_ValueError, "the kernel is released");
    return NULL;
}

/* [(cover, edge_e6), …] of what was found. */
static PyObject *report(PyObject *object, uint32_t count)
{
    kernel_object *self = (kernel_object *)object;
    const struct kernel *kernel = &self->kernel;
    self->busy++;
    PyObject *list = PyList_New(count);
    for (uint32_t n = 0; list && n < count; n++) {
        uint32_t cover = kernel->found[n];
        PyObject *hit = Py_BuildValue("(kL)", (unsigned long)cover, (long long)kernel->edge_e6[cover]);
        if (!hit || PyList_SetItem(list, n, hit))
            Py_CLEAR(list);
    }
    self->busy--;
    return list;
}

static PyObject *kernel_release(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    kernel_object *self = (kernel_object *)object;
    if (self->busy) {
        PyErr_SetString(PyExc_BufferError, "the kernel is being read: release it later");
        return NULL;
    }
    let_go(self);
    Py_RETURN_NONE;
}

static PyObject *py_kernel_drain(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct kernel *kernel = kernel_of(self);
    uint32_t reported;
    if (!kernel)
        return NULL;
    switch (kernel_drain(kernel, &reported)) {
    case TAKEN_NOTHING:
        Py_RETURN_NONE;
    case TAKEN_OK:
        return report(self, reported);
    default:
        return raise_overrun(((kernel_object *)self)->state, kernel->logs ? kernel->tail[0] : 0);
    }
}

static PyObject *py_kernel_touch(PyObject *self, PyObject *slots)
{
    Py_ssize_t count = PySequence_Size(slots);
    if (count < 0)
        return NULL;
    uint32_t *numbers = count > PY_SSIZE_T_MAX / (Py_ssize_t)sizeof *numbers ? NULL : PyMem_Malloc((size_t)count * sizeof *numbers);
    if (!numbers)
        return PyErr_NoMemory();
    bool good = true;
    for (Py_ssize_t n = 0; good && n < count; n++) {
        uint64_t slot = 0;
        PyObject *number = PySequence_GetItem(slots, n);
        good = number && unsigned_of(number, UINT32_MAX, &slot);
        numbers[n] = (uint32_t)slot;
        Py_XDECREF(number);
    }
    struct kernel *kernel = good ? kernel_of(self) : NULL; /* after the numbers, whose __index__ may release us */
    uint32_t reported = kernel ? kernel_touch(kernel, numbers, (size_t)count) : 0;
    PyMem_Free(numbers);
    return kernel ? report(self, reported) : NULL;
}

static PyObject *py_kernel_sweep(PyObject *self, PyObject *near)
{
    uint64_t most;
    struct kernel *kernel;
    if (!unsigned_of(near, UINT32_MAX, &most) || !(kernel = kernel_of(self)))
        return NULL;
    return report(self, kernel_sweep(kernel, (uint32_t)most));
}

static PyObject *py_kernel_settle(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    uint64_t cover;
    int64_t edge;
    struct kernel *kernel;
    if (!arguments("settle", count, 2) || !unsigned_of(args[0], UINT64_MAX, &cover) ||
        !signed_of(args[1], INT64_MIN, INT64_MAX - 1, &edge) || !(kernel = kernel_of(self)))
        return NULL;
    if (cover >= kernel->covers)
        return PyErr_Format(PyExc_IndexError, "cover %llu: there are %lu", (unsigned long long)cover,
                            (unsigned long)kernel->covers);
    if (edge > kernel->edge_e6[cover]) /* it has become worse since it was reported: what was told is what it is now */
        edge = kernel->edge_e6[cover];
    int64_t bar = edge < kernel->threshold_e6 ? edge + 1 : kernel->threshold_e6;
    if (bar > kernel->bar_e6[cover])
        kernel->bar_e6[cover] = bar;
    Py_RETURN_NONE;
}

static PyObject *py_kernel_best(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    kernel_object *self = (kernel_object *)object;
    struct kernel *kernel = kernel_of(object);
    if (!kernel)
        return NULL;
    self->busy++;
    PyObject *list = PyList_New(kernel->props);
    for (uint32_t n = 0; list && n < kernel->props; n++) {
        PyObject *number = PyLong_FromLong(kernel->best_e6[n]);
        if (!number || PyList_SetItem(list, n, number))
            Py_CLEAR(list);
    }
    self->busy--;
    return list;
}

static PyObject *kernel_tails(PyObject *object, void *Py_UNUSED(closure))
{
    kernel_object *self = (kernel_object *)object;
    struct kernel *kernel = kernel_of(object);
    if (!kernel)
        return NULL;
    self->busy++;
    PyObject *tails = PyTuple_New(kernel->logs);
    for (uint32_t n = 0; tails && n < kernel->logs; n++) {
        PyObject *tail = PyLong_FromUnsignedLongLong(kernel->tail[n]);
        if (!tail || PyTuple_SetItem(tails, n, tail))
            Py_CLEAR(tails);
    }
    self->busy--;
    return tails;
}

static PyMethodDef kernel_methods[] = {
    {"drain", py_kernel_drain, METH_NOARGS, "drain($self, /)\n--\n\nDrain the change logs and look at what they name."},
    {"touch", py_kernel_touch, METH_O, "touch($self, slots, /)\n--\n\nLook at what changed."},
    {"sweep", py_kernel_sweep, METH_O, "sweep($self, near, /)\n--\n\nLook at everything."},
    {"settle", (PyCFunction)(void (*)(void))py_kernel_settle, METH_FASTCALL,
     "settle($self, cover, edge_e6, /)\n--\n\nDo not report the cover as a near-miss again below or at this edge."},
    {"best_e6", py_kernel_best, METH_NOARGS, "best_e6($self, /)\n--\n\nThe cost of each proposition at the last look."},
    {"release", kernel_release, METH_NOARGS, "release($self, /)\n--\n\nLet go of the region."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef kernel_properties[] = {
    {"tails", kernel_tails, NULL, "How far each log is drained.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot kernel_slots[] = {
    {Py_tp_doc, "Kernel(region, costs, slots, logs, tails, capacity, prop_ptr, prop_claims, cover_ptr, cover_props, cover_k, "
                "threshold_e6, /)\n--\n\nThe covers of one generation over the costs of one segment."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, kernel_init},
    {Py_tp_dealloc, kernel_dealloc},
    {Py_tp_methods, kernel_methods},
    {Py_tp_getset, kernel_properties},
    {0, NULL},
};

PyType_Spec kernel_spec = {
    .name = "arbpipe._native.Kernel",
    .basicsize = sizeof(kernel_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = kernel_slots,
};
