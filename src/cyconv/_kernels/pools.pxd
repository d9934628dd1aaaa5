# The templates of pool.h behind fused names.

from cython cimport floating

cdef extern from "vectors.h":
    void cyconv_float_max_row(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                              Py_ssize_t, Py_ssize_t, long long, float*, long long*) noexcept nogil
    void cyconv_double_max_row(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                               Py_ssize_t, Py_ssize_t, long long, double*, long long*) noexcept nogil


cdef inline void max_row(const floating* row, Py_ssize_t row_step, Py_ssize_t rows, Py_ssize_t W, Py_ssize_t start,
                         Py_ssize_t stride, Py_ssize_t kernel_w, Py_ssize_t step, Py_ssize_t count, long long position,
                         floating* best, long long* index) noexcept nogil:
    if floating is float:
        cyconv_float_max_row(row, row_step, rows, W, start, stride, kernel_w, step, count, position, best, index)
    else:
        cyconv_double_max_row(row, row_step, rows, W, start, stride, kernel_w, step, count, position, best, index)
