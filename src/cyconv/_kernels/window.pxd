# The C twin of cyconv._window.Window: the same fields in the same order.

from cpython.tuple cimport PyTuple_GetItem

cdef struct Window:
    Py_ssize_t kernel_h, kernel_w
    Py_ssize_t stride_h, stride_w
    Py_ssize_t pad_top, pad_bottom, pad_left, pad_right
    Py_ssize_t dilation_h, dilation_w


cdef inline Window c_window(window) except *:
    cdef Window c
    cdef Py_ssize_t* fields = <Py_ssize_t*>&c
    cdef Py_ssize_t i
    for i in range(10):  # to unpack a named tuple takes an iterator, and half a microsecond
        fields[i] = <object>PyTuple_GetItem(window, i)
    return c


cdef inline Py_ssize_t first_inside(Py_ssize_t start, Py_ssize_t step) noexcept nogil:
    # The smallest i >= 0 with start + i*step >= 0.
    return 0 if start >= 0 else (-start + step - 1) // step


cdef inline Py_ssize_t past_inside(Py_ssize_t start, Py_ssize_t step, Py_ssize_t size, Py_ssize_t count) noexcept nogil:
    # The smallest i in 0..count beyond which start + i*step >= size.
    if start >= size:
        return 0
    return min(count, (size - 1 - start) // step + 1)


cdef inline Py_ssize_t windows(Py_ssize_t size, Py_ssize_t padding_before, Py_ssize_t padding_after, Py_ssize_t kernel,
                               Py_ssize_t dilation, Py_ssize_t stride, bint ceil_mode) noexcept nogil:
    # How many fit along one axis, by the formula of cyconv._window; < 1 where not one does.
    cdef Py_ssize_t room = size + padding_before + padding_after - dilation * (kernel - 1) - 1
    cdef Py_ssize_t rest = room % stride  # as C has it: towards zero
    cdef Py_ssize_t count = room // stride + (0 if rest < 0 else 1)
    if ceil_mode and rest != 0 and count * stride < size + padding_before:
        count += 1
    return count
