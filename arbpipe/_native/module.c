/* arbpipe._native: the core in C. Its interface is arbpipe/_native.pyi, and arbpipe/_python is its twin. */
#include "bind.h"

module_state *state_of(PyObject *module) { return PyModule_GetState(module); }

static bool add(PyObject *module, const char *name, PyObject *value)
{
    bool good = value && !PyModule_AddObjectRef(module, name, value);
    Py_XDECREF(value);
    return good;
}

static int execute(PyObject *module)
{
    module_state *state = state_of(module);
    PyObject *region = PyType_FromModuleAndSpec(module, &region_spec, NULL);
    state->region = (PyTypeObject *)region;
    Py_XINCREF(region);
    PyObject *members = Py_BuildValue("{s:i}", "head", 0);
    state->overrun = members ? PyErr_NewExceptionWithDoc("arbpipe._native.Overrun",
                                                         "The reader was too slow: the entry it asked for is gone. head is "
                                                         "where the writer stands now.",
                                                         NULL, members)
                             : NULL;
    Py_XDECREF(members);
    Py_XINCREF(state->overrun);
    return !PyModule_AddFunctions(module, row_functions) && !PyModule_AddFunctions(module, ring_functions) &&
                   !PyModule_AddFunctions(module, outlet_functions) &&
                   add(module, "Region", region) && add(module, "Overrun", state->overrun) &&
                   add(module, "Kernel", PyType_FromModuleAndSpec(module, &kernel_spec, NULL)) &&
                   add(module, "Outlet", PyType_FromModuleAndSpec(module, &outlet_spec, NULL)) &&
                   add(module, "ROW_BUSY", PyLong_FromLong(-1)) &&
                   add(module, "LAYOUT",
                       Py_BuildValue("(iiiiiiiii)", LINE, ROW_SIZE, ROW_CELL0, CELL_SIZE, HEAD_BYTES, (int)NO_QUOTE, DEPTH,
                                     SUB_BUCKETS, N_BUCKETS))
               ? 0
               : -1;
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state *state = state_of(module);
    Py_VISIT(state->region);
    Py_VISIT(state->overrun);
    return 0;
}

static int clear(PyObject *module)
{
    module_state *state = state_of(module);
    Py_CLEAR(state->region);
    Py_CLEAR(state->overrun);
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "arbpipe._native",
    .m_doc = "The core in C: shared memory with real fences, the doorbell, and the detector's kernel.",
    .m_size = sizeof(module_state),
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
