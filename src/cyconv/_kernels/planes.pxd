# The templates of small_planes.h behind fused names.

from cython cimport floating

cdef extern from "vectors.h":
    void cyconv_float_lay_vectors(const float*, Py_ssize_t, Py_ssize_t, const Py_ssize_t*, float*) noexcept nogil
    void cyconv_float_store_planes(const float*, Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_float_vector_taps(const float*, Py_ssize_t, const Py_ssize_t*, const Py_ssize_t*, Py_ssize_t, const float*,
                                  const float*, int, Py_ssize_t, Py_ssize_t, float*, Py_ssize_t, Py_ssize_t) noexcept nogil
    void cyconv_float_vector_tap_sums(const float*, Py_ssize_t, const Py_ssize_t*, Py_ssize_t, const float*, Py_ssize_t,
                                      Py_ssize_t, float*) noexcept nogil
    void cyconv_double_lay_vectors(const double*, Py_ssize_t, Py_ssize_t, const Py_ssize_t*, double*) noexcept nogil
    void cyconv_double_store_planes(const double*, Py_ssize_t, Py_ssize_t, double*) noexcept nogil
    void cyconv_double_vector_taps(const double*, Py_ssize_t, const Py_ssize_t*, const Py_ssize_t*, Py_ssize_t, const double*,
                                  const double*, int, Py_ssize_t, Py_ssize_t, double*, Py_ssize_t, Py_ssize_t) noexcept nogil
    void cyconv_double_vector_tap_sums(const double*, Py_ssize_t, const Py_ssize_t*, Py_ssize_t, const double*, Py_ssize_t,
                                      Py_ssize_t, double*) noexcept nogil


cdef inline void lay_vectors(const floating* planes, Py_ssize_t count, Py_ssize_t channels, const Py_ssize_t* place,
                             floating* line) noexcept nogil:
    # line[place[p] + l] = pixel p < count of plane l < channels, and zeros: a vector of channels.
    if floating is float:
        cyconv_float_lay_vectors(planes, count, channels, place, line)
    else:
        cyconv_double_lay_vectors(planes, count, channels, place, line)


cdef inline void store_planes(const floating* vectors, Py_ssize_t count, Py_ssize_t channels, floating* planes) noexcept nogil:
    # Element p < count of plane l < channels is element l of vector p.
    if floating is float:
        cyconv_float_store_planes(vectors, count, channels, planes)
    else:
        cyconv_double_store_planes(vectors, count, channels, planes)


cdef inline void vector_taps(const floating* line, Py_ssize_t width, const Py_ssize_t* distance, const Py_ssize_t* order,
                             Py_ssize_t taps, const floating* weight, const floating* start, bint relu, Py_ssize_t rows,
                             Py_ssize_t count, floating* out, Py_ssize_t row_step, Py_ssize_t step) noexcept nogil:
    # Rows of sums of taps of a line of vectors.
    if floating is float:
        cyconv_float_vector_taps(line, width, distance, order, taps, weight, start, relu, rows, count, out, row_step, step)
    else:
        cyconv_double_vector_taps(line, width, distance, order, taps, weight, start, relu, rows, count, out, row_step, step)


cdef inline void vector_tap_sums(const floating* line, Py_ssize_t width, const Py_ssize_t* distance, Py_ssize_t taps,
                                 const floating* grads, Py_ssize_t rows, Py_ssize_t count, floating* sums) noexcept nogil:
    # sums[t] += sum over positions of grads * line[distance[t]], vectors.
    if floating is float:
        cyconv_float_vector_tap_sums(line, width, distance, taps, grads, rows, count, sums)
    else:
        cyconv_double_vector_tap_sums(line, width, distance, taps, grads, rows, count, sums)
