# The C interface, cyconv/capi.h: geometry that was never checked in, a status out, no GIL, no exception.

cdef extern from "Python.h":
    object PyCapsule_New(void* pointer, const char* name, void* destructor)

# The limits of cyconv._checks: products of two parameters fit in Py_ssize_t.
cdef Py_ssize_t LARGEST = 2147483647
cdef Py_ssize_t MOST_THREADS = 1024


cdef inline Py_ssize_t times(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    # a*b of two numbers >= 0; PY_SSIZE_T_MAX where that is too small for it
    return PY_SSIZE_T_MAX if b > 0 and a > PY_SSIZE_T_MAX // b else a * b


cdef bint half_covered(Py_ssize_t before, Py_ssize_t after, Py_ssize_t kernel, Py_ssize_t dilation) noexcept nogil:
    return max(before, after) <= (dilation * (kernel - 1) + 1) // 2


cdef int plane_sizes(const capi.Geometry* given, capi.Geometry* g, Conv* conv) noexcept nogil:
    """Read what the caller gave, of whatever version; check all of it but channels, groups and algorithm."""
    cdef Window* w = &conv.window
    if given == NULL:
        return capi.NULL_POINTER
    if given.size < sizeof(size_t) or given.size > sizeof(capi.Geometry):
        return capi.BAD_STRUCT
    memset(g, 0, sizeof(capi.Geometry))  # a field that an older caller does not know is 0
    memcpy(g, given, given.size)
    if g.N < 0 or min(g.C_in, g.H_in, g.W_in) < 1:
        return capi.BAD_SIZE
    if min(g.kernel_h, g.kernel_w, g.stride_h, g.stride_w, g.dilation_h, g.dilation_w) < 1 or \
            max(g.kernel_h, g.kernel_w, g.stride_h, g.stride_w, g.dilation_h, g.dilation_w) > LARGEST or \
            min(g.pad_top, g.pad_bottom, g.pad_left, g.pad_right) < 0 or \
            max(g.pad_top, g.pad_bottom, g.pad_left, g.pad_right) > LARGEST:
        return capi.BAD_WINDOW
    if not 1 <= g.threads <= MOST_THREADS:
        return capi.BAD_THREADS
    if g.ceil_mode != 0 and g.ceil_mode != 1:
        return capi.BAD_CEIL_MODE
    # images and indices are of at most 8 bytes an element
    if times(times(times(times(max(g.N, 1), g.C_in), g.H_in), g.W_in), 8) == PY_SSIZE_T_MAX:
        return capi.TOO_LARGE
    w.kernel_h, w.kernel_w, w.stride_h, w.stride_w = g.kernel_h, g.kernel_w, g.stride_h, g.stride_w
    w.pad_top, w.pad_bottom, w.pad_left, w.pad_right = g.pad_top, g.pad_bottom, g.pad_left, g.pad_right
    w.dilation_h, w.dilation_w = g.dilation_h, g.dilation_w
    conv.N, conv.C_in, conv.H_in, conv.W_in = g.N, g.C_in, g.H_in, g.W_in
    conv.H_out = windows(g.H_in, g.pad_top, g.pad_bottom, g.kernel_h, g.dilation_h, g.stride_h, g.ceil_mode)
    conv.W_out = windows(g.W_in, g.pad_left, g.pad_right, g.kernel_w, g.dilation_w, g.stride_w, g.ceil_mode)
    conv.threads = 1 if forked else g.threads
    if min(conv.H_out, conv.W_out) < 1:
        return capi.NO_FIT
    if times(times(times(times(max(g.N, 1), g.C_in), conv.H_out), conv.W_out), 8) == PY_SSIZE_T_MAX:
        return capi.TOO_LARGE
    conv.L = conv.H_out * conv.W_out
    return capi.OK


cdef int conv_geometry(const capi.Geometry* given, int* algorithm, Conv* conv) noexcept nogil:
    """The geometry of a convolution."""
    cdef capi.Geometry g
    cdef int status = plane_sizes(given, &g, conv)
    if status != capi.OK:
        return status
    if g.ceil_mode:
        return capi.BAD_CEIL_MODE
    if g.C_out < 1:
        return capi.BAD_SIZE
    if g.groups < 1 or g.C_in % g.groups != 0 or g.C_out % g.groups != 0:
        return capi.BAD_GROUPS
    if times(times(g.C_in // g.groups, g.kernel_h), g.kernel_w) > LARGEST:  # more than BLAS can count
        return capi.TOO_LARGE
    if times(times(times(times(max(g.N, 1), g.C_out), conv.H_out), conv.W_out), 8) == PY_SSIZE_T_MAX or \
            times(times(g.C_out, g.C_in // g.groups * g.kernel_h * g.kernel_w), 8) == PY_SSIZE_T_MAX:
        return capi.TOO_LARGE
    conv.C_out, conv.groups = g.C_out, g.groups
    derive(conv)
    if g.algorithm not in (capi.AUTO, capi.IM2COL, capi.WINOGRAD) or \
            g.algorithm == capi.WINOGRAD and not (winograd_applies(conv) and
                                                  g.pad_bottom <= g.dilation_h * (g.kernel_h - 1) and
                                                  g.pad_right <= g.dilation_w * (g.kernel_w - 1)):
        return capi.BAD_ALGORITHM
    algorithm[0] = AUTO if g.algorithm == capi.AUTO else IM2COL if g.algorithm == capi.IM2COL else WINOGRAD
    return capi.OK


cdef int pool_geometry(const capi.Geometry* given, Conv* conv) noexcept nogil:
    """The geometry of a pooling."""
    cdef capi.Geometry g
    cdef int status = plane_sizes(given, &g, conv)
    if status == capi.OK and not (half_covered(g.pad_top, g.pad_bottom, g.kernel_h, g.dilation_h)
                                  and half_covered(g.pad_left, g.pad_right, g.kernel_w, g.dilation_w)):
        return capi.BAD_PADDING
    return status


cdef int columns_geometry(const capi.Geometry* given, Conv* conv) noexcept nogil:
    """The geometry of im2col."""
    cdef capi.Geometry g
    cdef int status = plane_sizes(given, &g, conv)
    if status == capi.OK and g.ceil_mode:
        return capi.BAD_CEIL_MODE
    if status == capi.OK and times(times(times(times(times(times(max(g.N, 1), g.C_in), g.kernel_h), g.kernel_w),
                                               conv.H_out), conv.W_out), 8) == PY_SSIZE_T_MAX:
        return capi.TOO_LARGE
    return status


# ---------------------------------------------------------------- functions of the table


cdef int c_output_size(const capi.Geometry* given, Py_ssize_t* H_out, Py_ssize_t* W_out) noexcept nogil:
    cdef capi.Geometry g
    cdef Conv conv
    cdef int status = plane_sizes(given, &g, &conv)
    if status == capi.OK:
        H_out[0], W_out[0] = conv.H_out, conv.W_out
    return status


cdef int c_conv2d_forward(const capi.Geometry* given, const floating* input, const floating* weight,
                          const floating* bias, floating* output) noexcept nogil:
    cdef Conv conv
    cdef int algorithm, status = conv_geometry(given, &algorithm, &conv)
    cdef bint guarded
    if status != capi.OK:
        return status
    if weight == NULL or conv.N > 0 and (input == NULL or output == NULL):
        return capi.NULL_POINTER
    guarded = enter_products()
    status = forward(&conv, algorithm, input, weight, bias, False, output)
    leave_products(guarded)
    return capi.NO_MEMORY if status else capi.OK


cdef int c_conv2d_backward_input(const capi.Geometry* given, const floating* grad_output, const floating* weight,
                                 floating* grad_input) noexcept nogil:
    cdef Conv conv
    cdef int algorithm, status = conv_geometry(given, &algorithm, &conv)
    cdef bint guarded
    if status != capi.OK:
        return status
    if weight == NULL or conv.N > 0 and (grad_output == NULL or grad_input == NULL):
        return capi.NULL_POINTER
    guarded = enter_products()
    status = backward_input(&conv, algorithm, grad_output, weight, grad_input)
    leave_products(guarded)
    return capi.NO_MEMORY if status else capi.OK


cdef int c_conv2d_backward_weight(const capi.Geometry* given, const floating* grad_output, const floating* input,
                                  floating* grad_weight) noexcept nogil:
    cdef Conv conv
    cdef int algorithm, status = conv_geometry(given, &algorithm, &conv)
    cdef bint guarded
    if status != capi.OK:
        return status
    if grad_weight == NULL or conv.N > 0 and (grad_output == NULL or input == NULL):
        return capi.NULL_POINTER
    guarded = enter_products()
    status = backward_weight(&conv, algorithm, grad_output, input, grad_weight)
    leave_products(guarded)
    return capi.NO_MEMORY if status else capi.OK


cdef int c_max_pool2d_forward(const capi.Geometry* given, const floating* input, floating* output,
                              long long* indices) noexcept nogil:
    cdef Conv conv
    cdef int status = pool_geometry(given, &conv)
    if status != capi.OK:
        return status
    if conv.N > 0 and (input == NULL or output == NULL):
        return capi.NULL_POINTER
    max_planes(&conv, input, output, indices)
    return capi.OK


cdef int c_max_pool2d_backward(const capi.Geometry* given, const floating* grad_output, const long long* indices,
                               floating* grad_input) noexcept nogil:
    cdef Conv conv
    cdef int status = pool_geometry(given, &conv)
    if status != capi.OK:
        return status
    if conv.N > 0 and (grad_output == NULL or indices == NULL or grad_input == NULL):
        return capi.NULL_POINTER
    if max_backward_planes(grad_output, indices, conv.N * conv.C_in, conv.H_out * conv.W_out, grad_input,
                           conv.H_in * conv.W_in, conv.threads) != 0:
        return capi.BAD_INDEX
    return capi.OK


cdef int c_im2col(const capi.Geometry* given, const floating* input, floating* columns) noexcept nogil:
    cdef Conv conv
    cdef int status = columns_geometry(given, &conv)
    if status != capi.OK:
        return status
    if conv.N > 0 and (input == NULL or columns == NULL):
        return capi.NULL_POINTER
    im2col_planes(&conv, input, columns)
    return capi.OK


cdef int c_col2im(const capi.Geometry* given, const floating* columns, floating* output) noexcept nogil:
    cdef Conv conv
    cdef int status = columns_geometry(given, &conv)
    if status != capi.OK:
        return status
    if conv.N > 0 and (columns == NULL or output == NULL):
        return capi.NULL_POINTER
    col2im_planes(&conv, columns, output)
    return capi.OK


# BLAS is called only where gemm is not our own; there its threads are set under the GIL, as in the Python doors.

cdef inline bint enter_products() noexcept nogil:
    return False if CYCONV_PANELS else enter_blas()


cdef bint enter_blas() noexcept with gil:
    _threads.single_threaded_blas.__enter__()
    return True


cdef inline void leave_products(bint guarded) noexcept nogil:
    if guarded:
        leave_blas()


cdef void leave_blas() noexcept with gil:
    _threads.single_threaded_blas.__exit__()


# In a child of fork OpenMP has no team: whatever the caller asks for, one thread.
cdef bint forked = _threads.forked


def _after_fork():
    global forked
    forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# ---------------------------------------------------------------- the table

cdef const char* MESSAGES[<int>capi.STATUS_COUNT]
MESSAGES[<int>capi.OK] = "cyconv: no error"
MESSAGES[<int>capi.NOT_IMPORTED] = "cyconv: call cyconv_import() when your module is imported"
MESSAGES[<int>capi.BAD_STRUCT] = "cyconv: the geometry's size is not one that this cyconv knows; start from cyconv_geometry_of()"
MESSAGES[<int>capi.BAD_SIZE] = "cyconv: N must be at least 0, and C_in, H_in, W_in and (of a convolution) C_out at least 1"
MESSAGES[<int>capi.BAD_WINDOW] = "cyconv: kernel, stride and dilation must be at least 1, padding at least 0, and all less than 2**31"
MESSAGES[<int>capi.BAD_GROUPS] = "cyconv: groups must be at least 1, and C_in and C_out multiples of it"
MESSAGES[<int>capi.BAD_ALGORITHM] = (
    "cyconv: algorithm must be CYCONV_AUTO, CYCONV_IM2COL or CYCONV_WINOGRAD, which needs a kernel of 2 to 5 times the "
    "stride, rounded up, the same number in both directions, or of 2 to 16 along one axis at stride 1, stride 4 or less, stride or "
    "dilation 1 and less padding than the kernel covers")
MESSAGES[<int>capi.BAD_THREADS] = "cyconv: threads must be at least 1 and at most 1024"
MESSAGES[<int>capi.BAD_CEIL_MODE] = "cyconv: ceil_mode must be 0 or, of a pooling alone, 1"
MESSAGES[<int>capi.BAD_PADDING] = "cyconv: the padding of a pooling must be at most half of what the kernel covers"
MESSAGES[<int>capi.NO_FIT] = "cyconv: the kernel does not fit the padded image; increase padding"
MESSAGES[<int>capi.TOO_LARGE] = "cyconv: an array of this geometry is larger than any memory, or a filter than 2**31 taps"
MESSAGES[<int>capi.NULL_POINTER] = "cyconv: an array, or the geometry, is NULL"
MESSAGES[<int>capi.BAD_INDEX] = "cyconv: an index of max_pool2d_backward lies outside the plane"
MESSAGES[<int>capi.NO_MEMORY] = "cyconv: the workspace could not be allocated"


cdef const char* c_message(int status) noexcept nogil:
    if 0 <= status < <int>capi.STATUS_COUNT:
        return MESSAGES[status]
    return "cyconv: unknown status"


cdef capi.Table table
table.message = c_message
table.output_size = c_output_size
table.conv2d_forward_float = c_conv2d_forward[float]
table.conv2d_forward_double = c_conv2d_forward[double]
table.conv2d_backward_input_float = c_conv2d_backward_input[float]
table.conv2d_backward_input_double = c_conv2d_backward_input[double]
table.conv2d_backward_weight_float = c_conv2d_backward_weight[float]
table.conv2d_backward_weight_double = c_conv2d_backward_weight[double]
table.max_pool2d_forward_float = c_max_pool2d_forward[float]
table.max_pool2d_forward_double = c_max_pool2d_forward[double]
table.max_pool2d_backward_float = c_max_pool2d_backward[float]
table.max_pool2d_backward_double = c_max_pool2d_backward[double]
table.im2col_float = c_im2col[float]
table.im2col_double = c_im2col[double]
table.col2im_float = c_col2im[float]
table.col2im_double = c_col2im[double]

c_table = PyCapsule_New(&table, "cyconv.capi", NULL)
