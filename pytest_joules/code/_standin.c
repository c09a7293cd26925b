/* Builtin functions that stand in for others: each tells of a call, then makes it.
 *
 * Made in Python they would show in tracebacks, bind to objects as methods, or not be taken for builtin functions by whoever
 * looks (pyfakefs): a test would see that it is watched.
 */
#include <Python.h>
#include <string.h>

/* self: (function, tell). What tell raises is dropped, but for what ends a program. */
static PyObject *
call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *told = PyObject_Call(PyTuple_GetItem(self, 1), args, kwargs);
    if (told == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return NULL;
        }
        PyErr_Clear();
    }
    Py_XDECREF(told);
    return PyObject_Call(PyTuple_GetItem(self, 0), args, kwargs);
}

static char *
copied(const char *text)
{
    char *copy = PyMem_Malloc(strlen(text) + 1);
    return copy == NULL ? NULL : strcpy(copy, text);
}

/* The definition outlives the function: others may keep that for as long as the process lives, and there are some twenty. */
static PyObject *
stand_in(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *function, *tell, *name_of_module, *self, *made;
    const char *name, *doc;
    if (!PyArg_ParseTuple(args, "OOssO", &function, &tell, &name, &doc, &name_of_module)) {
        return NULL;
    }
    PyMethodDef *definition = PyMem_Malloc(sizeof(PyMethodDef));
    if (definition == NULL) {
        return PyErr_NoMemory();
    }
    definition->ml_name = copied(name);
    definition->ml_meth = (PyCFunction)(void (*)(void))call;
    definition->ml_flags = METH_VARARGS | METH_KEYWORDS;
    definition->ml_doc = copied(doc);
    if (definition->ml_name == NULL || definition->ml_doc == NULL) {
        return PyErr_NoMemory();
    }
    self = PyTuple_Pack(2, function, tell);
    if (self == NULL) {
        return NULL;
    }
    made = PyCFunction_NewEx(definition, self, name_of_module);
    Py_DECREF(self);
    return made;
}

static PyMethodDef methods[] = {
    {"stand_in", stand_in, METH_VARARGS,
     PyDoc_STR("stand_in(function, tell, name, doc, module): a builtin function that calls tell, then function, alike.")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "pytest_joules.code._standin",
    PyDoc_STR("Builtin functions that stand in for others."),
    0,
    methods,
    slots,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC
PyInit__standin(void)
{
    return PyModuleDef_Init(&definition);
}
