# Arrays at the door of a kernel, by the buffer protocol. A typed memoryview would check the same (shapes and dtypes
# are the business of functional and the layers) at four times the cost, some 0.6 us for each array: as much as a
# small convolution.

from cpython.buffer cimport PyBUF_ND, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer


cdef struct Array:
    # A C-contiguous array, and the first four of its axes; all 0 for None. The caller keeps the object.
    void* data
    Py_ssize_t itemsize, size  # bytes of an element; elements
    int ndim
    Py_ssize_t[4] shape


cdef Array array_in(array) except *:
    """What a kernel reads: an array, or None."""
    return array_at(array, PyBUF_ND)


cdef Array array_out(array) except *:
    """What a kernel writes."""
    return array_at(array, PyBUF_ND | PyBUF_WRITABLE)


cdef Array array_at(array, int flags) except *:
    cdef Py_buffer view
    cdef Array a
    cdef int i
    memset(&a, 0, sizeof(Array))
    if array is not None:
        PyObject_GetBuffer(array, &view, flags)  # C-contiguous, or a BufferError
        a.data, a.itemsize, a.size, a.ndim = view.buf, view.itemsize, view.len // view.itemsize, view.ndim
        for i in range(min(a.ndim, 4)):
            a.shape[i] = view.shape[i]
        PyBuffer_Release(&view)
    return a
