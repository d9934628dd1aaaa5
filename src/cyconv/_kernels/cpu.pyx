"""Which instruction-set level this CPU runs; apart from the kernels, so that only one level is loaded."""

cdef extern from "cpu.h":
    int cyconv_cpu_level() nogil
    void cyconv_cpu_vendor(char* name) nogil


def level():
    """"base", "v3" or "v4": the best x86-64 level of the CPU; always "base" on other architectures."""
    return {3: "v3", 4: "v4"}.get(cyconv_cpu_level(), "base")


def vendor():
    """CPUID's name of the maker of an x86-64 CPU, such as "AuthenticAMD"; "" on other architectures."""
    cdef char name[13]
    cyconv_cpu_vendor(name)
    return name.decode("ascii", "replace")
