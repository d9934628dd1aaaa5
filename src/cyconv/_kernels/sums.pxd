# The vector templates of sums.h and softmax.h behind fused names.

from cython cimport floating

cdef extern from "vectors.h":
    double cyconv_float_sum(const float*, float, Py_ssize_t) noexcept nogil
    double cyconv_double_sum(const double*, double, Py_ssize_t) noexcept nogil
    double cyconv_float_sum_squares(const float*, float, Py_ssize_t) noexcept nogil
    double cyconv_double_sum_squares(const double*, double, Py_ssize_t) noexcept nogil
    double cyconv_float_sum_products(const float*, const float*, float, Py_ssize_t, double*) noexcept nogil
    double cyconv_double_sum_products(const double*, const double*, double, Py_ssize_t, double*) noexcept nogil
    float cyconv_float_exponentials(const float*, Py_ssize_t, float*) noexcept nogil
    double cyconv_double_exponentials(const double*, Py_ssize_t, double*) noexcept nogil


cdef inline double sum_run(const floating* x, floating mean, Py_ssize_t size) noexcept nogil:
    # sum of x - mean
    if floating is float:
        return cyconv_float_sum(x, mean, size)
    else:
        return cyconv_double_sum(x, mean, size)


cdef inline double sum_squares(const floating* x, floating mean, Py_ssize_t size) noexcept nogil:
    # sum of (x - mean)^2
    if floating is float:
        return cyconv_float_sum_squares(x, mean, size)
    else:
        return cyconv_double_sum_squares(x, mean, size)


cdef inline double sum_products(const floating* g, const floating* x, floating mean, Py_ssize_t size,
                                double* product) noexcept nogil:
    # Returns the sum of g, and adds that of g (x - mean) to product.
    if floating is float:
        return cyconv_float_sum_products(g, x, mean, size, product)
    else:
        return cyconv_double_sum_products(g, x, mean, size, product)


cdef inline floating exponentials(const floating* x, Py_ssize_t size, floating* out) noexcept nogil:
    # out = e^(x - max of x); returns that maximum.
    if floating is float:
        return cyconv_float_exponentials(x, size, out)
    else:
        return cyconv_double_exponentials(x, size, out)
