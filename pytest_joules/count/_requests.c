/* What a program asks of Valgrind's callgrind while it runs, and what CPU Valgrind shows it.
 *
 * A request is a sequence of instructions that changes nothing on a real CPU and that Valgrind recognises (valgrind.h,
 * "client requests"; the numbers are those of callgrind.h). Outside Valgrind every function here does nothing.
 */
#include <Python.h>

#if defined(__x86_64__) && defined(__GNUC__)

static unsigned long
request(unsigned long code)
{
    volatile unsigned long arguments[6] = {code, 0, 0, 0, 0, 0};
    volatile unsigned long *place = arguments;
    unsigned long result = 0;
    __asm__ volatile("rolq $3, %%rdi\n\trolq $13, %%rdi\n\trolq $61, %%rdi\n\trolq $51, %%rdi\n\txchgq %%rbx, %%rbx"
                     : "+d"(result)
                     : "a"(place)
                     : "cc", "memory");
    return result;
}

#elif defined(__aarch64__) && defined(__GNUC__)

static unsigned long
request(unsigned long code)
{
    volatile unsigned long arguments[6] = {code, 0, 0, 0, 0, 0};
    register volatile unsigned long *place __asm__("x4") = arguments;
    register unsigned long result __asm__("x3") = 0;
    __asm__ volatile("ror x12, x12, #3\n\tror x12, x12, #13\n\tror x12, x12, #51\n\tror x12, x12, #61\n\torr x10, x10, x10"
                     : "+r"(result)
                     : "r"(place)
                     : "cc", "memory");
    return result;
}

#else
#error "Valgrind's requests are not known for this architecture and compiler"
#endif

/* Headers from 3.12 on give None without a reference of its own, also to what is to run on an older Python. */
static PyObject *
none(void)
{
    Py_INCREF(Py_None);
    return Py_None;
}

#define CALLGRIND ((unsigned long)('C') << 24 | (unsigned long)('T') << 16)

static PyObject *
running(PyObject *module, PyObject *unused)
{
    return PyBool_FromLong(request(0x1001) != 0);
}

static PyObject *
instrument(PyObject *module, PyObject *unused)
{
    request(CALLGRIND + 4);
    return none();
}

static PyObject *
stop(PyObject *module, PyObject *unused)
{
    request(CALLGRIND + 5);
    return none();
}

static PyObject *
zero(PyObject *module, PyObject *unused)
{
    request(CALLGRIND + 1);
    return none();
}

static PyObject *
dump(PyObject *module, PyObject *unused)
{
    request(CALLGRIND);
    return none();
}

static PyObject *
features(PyObject *module, PyObject *unused)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    return PyUnicode_FromFormat("x86-64%s%s%s%s%s", __builtin_cpu_supports("sse4.2") ? " sse4.2" : "",
                                __builtin_cpu_supports("avx") ? " avx" : "", __builtin_cpu_supports("avx2") ? " avx2" : "",
                                __builtin_cpu_supports("bmi2") ? " bmi2" : "",
                                __builtin_cpu_supports("avx512f") ? " avx512f" : "");
#else
    return PyUnicode_FromString("aarch64");
#endif
}

static PyMethodDef methods[] = {
    {"running", running, METH_NOARGS, "running()\n--\n\nWhether this process runs under Valgrind."},
    {"instrument", instrument, METH_NOARGS, "instrument()\n--\n\nBegin to count: every instruction from here on."},
    {"stop", stop, METH_NOARGS, "stop()\n--\n\nCount no more, and run about ten times as fast."},
    {"zero", zero, METH_NOARGS, "zero()\n--\n\nForget what was counted."},
    {"dump", dump, METH_NOARGS, "dump()\n--\n\nWrite what was counted to the next file, and forget it."},
    {"features", features, METH_NOARGS, "features()\n--\n\nThe features of the CPU that libraries choose their code by."},
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
    "_requests",
    "Requests to Valgrind's callgrind.",
    0,
    methods,
    slots,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC
PyInit__requests(void)
{
    return PyModuleDef_Init(&definition);
}
