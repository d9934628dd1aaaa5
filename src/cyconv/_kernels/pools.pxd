# The templates of pool.h and average.h behind fused names.

from cython cimport floating

from cyconv._kernels.window cimport Window

cdef extern from "vectors.h":
    void cyconv_float_max_plane(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, float*, long long*) noexcept nogil
    void cyconv_double_max_plane(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                 Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, double*, long long*) noexcept nogil
    void cyconv_float_average_row(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, int,
                                  Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_double_average_row(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, int,
                                  Py_ssize_t, Py_ssize_t, double*) noexcept nogil
    void cyconv_float_share_row(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, int,
                                  Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_double_share_row(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, int,
                                  Py_ssize_t, Py_ssize_t, double*) noexcept nogil


cdef inline void max_plane(const floating* plane, Py_ssize_t H_in, Py_ssize_t W_in, const Window* window,
                           Py_ssize_t H_out, Py_ssize_t W_out, floating* output, long long* indices) noexcept nogil:
    if floating is float:
        cyconv_float_max_plane(plane, H_in, W_in, window.kernel_h, window.kernel_w, window.stride_h, window.stride_w,
                               window.pad_top, window.pad_left, window.dilation_h, window.dilation_w, H_out, W_out,
                               output, indices)
    else:
        cyconv_double_max_plane(plane, H_in, W_in, window.kernel_h, window.kernel_w, window.stride_h, window.stride_w,
                                window.pad_top, window.pad_left, window.dilation_h, window.dilation_w, H_out, W_out,
                                output, indices)


cdef inline void average_row(const floating* pixels, Py_ssize_t rows, Py_ssize_t W, Py_ssize_t start, Py_ssize_t stride,
                             Py_ssize_t kernel_w, Py_ssize_t pad_right, bint padded, Py_ssize_t height,
                             Py_ssize_t count, floating* mean) noexcept nogil:
    if floating is float:
        cyconv_float_average_row(pixels, rows, W, start, stride, kernel_w, pad_right, padded, height, count, mean)
    else:
        cyconv_double_average_row(pixels, rows, W, start, stride, kernel_w, pad_right, padded, height, count, mean)


cdef inline void share_row(const floating* grad, Py_ssize_t rows, Py_ssize_t W, Py_ssize_t start, Py_ssize_t stride,
                           Py_ssize_t kernel_w, Py_ssize_t pad_right, bint padded, Py_ssize_t height, Py_ssize_t count,
                           floating* pixels) noexcept nogil:
    if floating is float:
        cyconv_float_share_row(grad, rows, W, start, stride, kernel_w, pad_right, padded, height, count, pixels)
    else:
        cyconv_double_share_row(grad, rows, W, start, stride, kernel_w, pad_right, padded, height, count, pixels)
