# The templates of pool.h and average.h behind fused names.

from cython cimport floating

cdef extern from "vectors.h":
    void cyconv_float_max_row(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                              Py_ssize_t, Py_ssize_t, long long, float*, long long*) noexcept nogil
    void cyconv_double_max_row(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                               Py_ssize_t, Py_ssize_t, long long, double*, long long*) noexcept nogil
    void cyconv_float_average_row(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, int,
                                  Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_double_average_row(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, int,
                                  Py_ssize_t, Py_ssize_t, double*) noexcept nogil
    void cyconv_float_share_row(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, int,
                                  Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_double_share_row(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, int,
                                  Py_ssize_t, Py_ssize_t, double*) noexcept nogil


cdef inline void max_row(const floating* row, Py_ssize_t row_step, Py_ssize_t rows, Py_ssize_t W, Py_ssize_t start,
                         Py_ssize_t stride, Py_ssize_t kernel_w, Py_ssize_t step, Py_ssize_t count, long long position,
                         floating* best, long long* index) noexcept nogil:
    if floating is float:
        cyconv_float_max_row(row, row_step, rows, W, start, stride, kernel_w, step, count, position, best, index)
    else:
        cyconv_double_max_row(row, row_step, rows, W, start, stride, kernel_w, step, count, position, best, index)


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
