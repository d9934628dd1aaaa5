# cyconv's kernels for Cython. Compile with include_dirs=[cyconv.get_include()], and at the top of the module:
#
#     from cyconv cimport capi
#     capi.import_cyconv()
#
# The functions need no GIL, call from any thread, and return capi.OK or another status; capi.message(status) says
# what is wrong. Shapes and rules: cyconv/capi.h. What stays the same between versions: docs/abi.md.

from cython cimport floating

cdef extern from "cyconv/capi.h":
    # ImportError where the installed cyconv does not serve this header, or has no compiled kernels
    int import_cyconv "cyconv_import"() except -1

cdef extern from "cyconv/capi.h" nogil:
    enum: OK "CYCONV_OK"
    enum: NOT_IMPORTED "CYCONV_NOT_IMPORTED"
    enum: BAD_STRUCT "CYCONV_BAD_STRUCT"
    enum: BAD_SIZE "CYCONV_BAD_SIZE"
    enum: BAD_WINDOW "CYCONV_BAD_WINDOW"
    enum: BAD_GROUPS "CYCONV_BAD_GROUPS"
    enum: BAD_ALGORITHM "CYCONV_BAD_ALGORITHM"
    enum: BAD_THREADS "CYCONV_BAD_THREADS"
    enum: BAD_CEIL_MODE "CYCONV_BAD_CEIL_MODE"
    enum: BAD_PADDING "CYCONV_BAD_PADDING"
    enum: NO_FIT "CYCONV_NO_FIT"
    enum: TOO_LARGE "CYCONV_TOO_LARGE"
    enum: NULL_POINTER "CYCONV_NULL_POINTER"
    enum: BAD_INDEX "CYCONV_BAD_INDEX"
    enum: NO_MEMORY "CYCONV_NO_MEMORY"
    enum: STATUS_COUNT "CYCONV_STATUS_COUNT"

    enum: AUTO "CYCONV_AUTO"
    enum: IM2COL "CYCONV_IM2COL"
    enum: WINOGRAD "CYCONV_WINOGRAD"

    ctypedef struct Geometry "cyconv_geometry":
        size_t size
        Py_ssize_t N, C_in, H_in, W_in
        Py_ssize_t C_out, groups
        Py_ssize_t kernel_h, kernel_w, stride_h, stride_w
        Py_ssize_t pad_top, pad_bottom, pad_left, pad_right
        Py_ssize_t dilation_h, dilation_w
        int algorithm, ceil_mode, threads

    Geometry geometry "cyconv_geometry_of"(Py_ssize_t N, Py_ssize_t C_in, Py_ssize_t H_in, Py_ssize_t W_in,
                                           Py_ssize_t C_out, Py_ssize_t kernel_h, Py_ssize_t kernel_w)
    const char* message "cyconv_message"(int status)
    int output_size "cyconv_output_size"(const Geometry*, Py_ssize_t* H_out, Py_ssize_t* W_out)

    int cyconv_conv2d_forward_float(const Geometry*, const float*, const float*, const float*, float*)
    int cyconv_conv2d_forward_double(const Geometry*, const double*, const double*, const double*, double*)
    int cyconv_conv2d_backward_input_float(const Geometry*, const float*, const float*, float*)
    int cyconv_conv2d_backward_input_double(const Geometry*, const double*, const double*, double*)
    int cyconv_conv2d_backward_weight_float(const Geometry*, const float*, const float*, float*)
    int cyconv_conv2d_backward_weight_double(const Geometry*, const double*, const double*, double*)
    int cyconv_max_pool2d_forward_float(const Geometry*, const float*, float*, long long*)
    int cyconv_max_pool2d_forward_double(const Geometry*, const double*, double*, long long*)
    int cyconv_max_pool2d_backward_float(const Geometry*, const float*, const long long*, float*)
    int cyconv_max_pool2d_backward_double(const Geometry*, const double*, const long long*, double*)
    int cyconv_im2col_float(const Geometry*, const float*, float*)
    int cyconv_im2col_double(const Geometry*, const double*, double*)
    int cyconv_col2im_float(const Geometry*, const float*, float*)
    int cyconv_col2im_double(const Geometry*, const double*, double*)

    ctypedef struct Table "cyconv_table":  # for the kernels, which fill it
        const char* (*message)(int) noexcept
        int (*output_size)(const Geometry*, Py_ssize_t*, Py_ssize_t*) noexcept
        int (*conv2d_forward_float)(const Geometry*, const float*, const float*, const float*, float*) noexcept
        int (*conv2d_forward_double)(const Geometry*, const double*, const double*, const double*, double*) noexcept
        int (*conv2d_backward_input_float)(const Geometry*, const float*, const float*, float*) noexcept
        int (*conv2d_backward_input_double)(const Geometry*, const double*, const double*, double*) noexcept
        int (*conv2d_backward_weight_float)(const Geometry*, const float*, const float*, float*) noexcept
        int (*conv2d_backward_weight_double)(const Geometry*, const double*, const double*, double*) noexcept
        int (*max_pool2d_forward_float)(const Geometry*, const float*, float*, long long*) noexcept
        int (*max_pool2d_forward_double)(const Geometry*, const double*, double*, long long*) noexcept
        int (*max_pool2d_backward_float)(const Geometry*, const float*, const long long*, float*) noexcept
        int (*max_pool2d_backward_double)(const Geometry*, const double*, const long long*, double*) noexcept
        int (*im2col_float)(const Geometry*, const float*, float*) noexcept
        int (*im2col_double)(const Geometry*, const double*, double*) noexcept
        int (*col2im_float)(const Geometry*, const float*, float*) noexcept
        int (*col2im_double)(const Geometry*, const double*, double*) noexcept


cdef inline int conv2d_forward(const Geometry* g, const floating* input, const floating* weight,
                               const floating* bias, floating* output) noexcept nogil:
    # output = weight * input + bias; bias may be NULL
    if floating is float:
        return cyconv_conv2d_forward_float(g, input, weight, bias, output)
    else:
        return cyconv_conv2d_forward_double(g, input, weight, bias, output)


cdef inline int conv2d_backward_input(const Geometry* g, const floating* grad_output, const floating* weight,
                                      floating* grad_input) noexcept nogil:
    if floating is float:
        return cyconv_conv2d_backward_input_float(g, grad_output, weight, grad_input)
    else:
        return cyconv_conv2d_backward_input_double(g, grad_output, weight, grad_input)


cdef inline int conv2d_backward_weight(const Geometry* g, const floating* grad_output, const floating* input,
                                       floating* grad_weight) noexcept nogil:
    if floating is float:
        return cyconv_conv2d_backward_weight_float(g, grad_output, input, grad_weight)
    else:
        return cyconv_conv2d_backward_weight_double(g, grad_output, input, grad_weight)


cdef inline int max_pool2d_forward(const Geometry* g, const floating* input, floating* output,
                                   long long* indices) noexcept nogil:
    # indices, flat positions in the plane of the input, may be NULL
    if floating is float:
        return cyconv_max_pool2d_forward_float(g, input, output, indices)
    else:
        return cyconv_max_pool2d_forward_double(g, input, output, indices)


cdef inline int max_pool2d_backward(const Geometry* g, const floating* grad_output, const long long* indices,
                                    floating* grad_input) noexcept nogil:
    if floating is float:
        return cyconv_max_pool2d_backward_float(g, grad_output, indices, grad_input)
    else:
        return cyconv_max_pool2d_backward_double(g, grad_output, indices, grad_input)


cdef inline int im2col(const Geometry* g, const floating* input, floating* columns) noexcept nogil:
    if floating is float:
        return cyconv_im2col_float(g, input, columns)
    else:
        return cyconv_im2col_double(g, input, columns)


cdef inline int col2im(const Geometry* g, const floating* columns, floating* output) noexcept nogil:
    # the adjoint of im2col: every column added back to the pixels that it came from
    if floating is float:
        return cyconv_col2im_float(g, columns, output)
    else:
        return cyconv_col2im_double(g, columns, output)
