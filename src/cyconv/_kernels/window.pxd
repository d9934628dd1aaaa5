# The C twin of cyconv._window.Window: the same fields in the same order.

cdef struct Window:
    Py_ssize_t kernel_h, kernel_w
    Py_ssize_t stride_h, stride_w
    Py_ssize_t pad_top, pad_bottom, pad_left, pad_right
    Py_ssize_t dilation_h, dilation_w


cdef inline Window c_window(window) except *:
    cdef Window c
    (c.kernel_h, c.kernel_w, c.stride_h, c.stride_w, c.pad_top, c.pad_bottom, c.pad_left, c.pad_right,
     c.dilation_h, c.dilation_w) = window
    return c


cdef inline Py_ssize_t first_inside(Py_ssize_t start, Py_ssize_t step) noexcept nogil:
    # The smallest i >= 0 with start + i*step >= 0.
    return 0 if start >= 0 else (-start + step - 1) // step


cdef inline Py_ssize_t past_inside(Py_ssize_t start, Py_ssize_t step, Py_ssize_t size, Py_ssize_t count) noexcept nogil:
    # The smallest i in 0..count beyond which start + i*step >= size.
    if start >= size:
        return 0
    return min(count, (size - 1 - start) // step + 1)
