/* The CPU's own tick counter: one ordered read, and its frequency where the CPU tells it.
 *
 * x86:     RDTSCP waits for all earlier instructions; the LFENCE after it keeps later ones from starting early
 *          (Intel SDM vol. 2B, RDTSCP). CPUs without RDTSCP: LFENCE; RDTSC; LFENCE.
 * aarch64: the ISB keeps the read of CNTVCT_EL0 from being done early (Arm ARM, D11.1.2).
 */
#include <Python.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#include <x86intrin.h>
#define JOULES_X86 1
#elif defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
#include <intrin.h>
#define JOULES_X86 1
#elif defined(__aarch64__) && defined(__GNUC__)
#define JOULES_AARCH64 1
#else
#error "no user-readable tick counter is known for this architecture"
#endif

#ifdef JOULES_X86

static int has_rdtscp = 0;

static void
cpuid(unsigned int leaf, unsigned int registers[4])
{
#ifdef _MSC_VER
    __cpuidex((int *)registers, (int)leaf, 0);
#else
    __cpuid_count(leaf, 0, registers[0], registers[1], registers[2], registers[3]);
#endif
}

static void
detect(void)
{
    unsigned int r[4] = {0, 0, 0, 0};
    cpuid(0x80000000u, r);
    if (r[0] >= 0x80000001u) {
        cpuid(0x80000001u, r);
        has_rdtscp = (int)((r[3] >> 27) & 1u);
    }
}

static unsigned long long
ticks(void)
{
    unsigned long long value;
    unsigned int core;
    if (has_rdtscp) {
        value = __rdtscp(&core);
    }
    else {
        _mm_lfence();
        value = __rdtsc();
    }
    _mm_lfence();
    return value;
}

/* CPUID leaf 0x15: ticks of the counter = crystal (ECX, Hz) * EBX / EAX (Intel SDM vol. 3B, 19.7.3). */
static unsigned long long
frequency(void)
{
    unsigned int r[4] = {0, 0, 0, 0};
    cpuid(0, r);
    if (r[0] < 0x15u) {
        return 0;
    }
    cpuid(0x15u, r);
    if (r[0] == 0 || r[1] == 0 || r[2] == 0) {
        return 0;
    }
    return (unsigned long long)r[2] * r[1] / r[0];
}

static const char *
instruction(void)
{
    return has_rdtscp ? "rdtscp" : "rdtsc";
}

#else

static void
detect(void)
{
}

static unsigned long long
ticks(void)
{
    unsigned long long value;
    __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(value) : : "memory");
    return value;
}

static unsigned long long
frequency(void)
{
    unsigned long long value;
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(value));
    return value & 0xffffffffull;
}

static const char *
instruction(void)
{
    return "cntvct_el0";
}

#endif

static PyObject *
tsc_read(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromUnsignedLongLong(ticks());
}

static PyObject *
tsc_frequency_hint(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromUnsignedLongLong(frequency());
}

static PyMethodDef methods[] = {
    {"read", tsc_read, METH_NOARGS, PyDoc_STR("Ticks of the CPU's counter now.")},
    {"frequency_hint", tsc_frequency_hint, METH_NOARGS,
     PyDoc_STR("Ticks per second as the CPU states them; 0 where it does not.")},
    {NULL, NULL, 0, NULL},
};

static int
execute(PyObject *module)
{
    detect();
    return PyModule_AddStringConstant(module, "instruction", instruction());
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)execute},
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "pytest_joules.sources._tsc",
    PyDoc_STR("The CPU's own tick counter."),
    0,
    methods,
    slots,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC
PyInit__tsc(void)
{
    return PyModuleDef_Init(&definition);
}
