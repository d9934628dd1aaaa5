# The OpenMP team of a region, and its scratch memory.

cdef extern from *:
    """
    #ifdef _OPENMP
    #define CYCONV_OPENMP 1
    #else
    #define CYCONV_OPENMP 0
    #endif
    """
    const int CYCONV_OPENMP

cdef extern from "workspace.h":
    void* cyconv_acquire(size_t bytes) nogil
    void cyconv_release(void* memory) nogil

# At the start and the end of each region that adds or multiplies; copies and comparisons keep denormals as they are.
cdef extern from "denormals.h":
    uint64_t flush_denormals "cyconv_flush_denormals"() nogil
    void restore_denormals "cyconv_restore_denormals"(uint64_t control) nogil

OPENMP = bool(CYCONV_OPENMP)

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1


cdef class _BlasGuard:
    """BLAS on one thread. A Ctrl-C that came during the kernel is raised before BLAS is set back, not halfway."""

    def __enter__(self):
        _threads.single_threaded_blas.__enter__()

    def __exit__(self, *exception):
        try:
            PyErr_CheckSignals()
        finally:
            _threads.single_threaded_blas.__exit__(*exception)


cdef class _NoGuard:
    """Nothing to set, at less than contextlib.nullcontext costs."""

    def __enter__(self):
        pass

    def __exit__(self, *exception):
        pass


BLAS_GUARD = _BlasGuard()
NO_GUARD = _NoGuard()


cdef products_guard():
    """The context of a convolution's products, which call BLAS only where gemm is not our own."""
    return NO_GUARD if CYCONV_PANELS else BLAS_GUARD


# Waking a team costs some microseconds: a thread must have at least this much to do. Even a team of
# one costs half a microsecond, so where one thread results the work is called without a region.

cdef double WORK_PER_THREAD = 100_000


cdef int team(double work, Py_ssize_t tasks):
    """`team_of` the threads that the process has set."""
    return team_of(_threads.get_num_threads(), work, tasks)


cdef int team_of(Py_ssize_t threads, double work, Py_ssize_t tasks) noexcept nogil:
    """Of `threads`, those for `tasks` tasks of together `work` multiply-adds (or elements moved, times ten)."""
    threads = min(threads, tasks)
    if work < threads * WORK_PER_THREAD:
        threads = <Py_ssize_t>(work / WORK_PER_THREAD)
    return <int>max(1, threads)


cdef enum:
    NO_MEMORY = -1  # what a core returns where its workspace can't be allocated, with nothing done


cdef int check_memory(int status) except -1:
    if status == NO_MEMORY:
        raise MemoryError("cyconv: the workspace could not be allocated")
    return 0


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef inline Py_ssize_t round_up(Py_ssize_t a, Py_ssize_t multiple) noexcept nogil:
    return ceil_div(a, multiple) * multiple
