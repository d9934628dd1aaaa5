# The rectifier and its gradient, in chunks over the team; the loops are vectors.

cdef Py_ssize_t CHUNK = 1 << 15  # elements of one task


def relu_forward(input, output):
    """output = max(0, input); NaN stays NaN."""
    cdef Array x = array_in(input)    # of any shape
    cdef Array y = array_out(output)  # like input
    cdef int threads = chunk_team(x.size, 1)
    with nogil:
        if x.itemsize == sizeof(float):
            relu_chunks[float](<float*>x.data, x.size, <float*>y.data, threads)
        else:
            relu_chunks[double](<double*>x.data, x.size, <double*>y.data, threads)


cdef int chunk_team(Py_ssize_t size, double work):
    """The team for chunks of `size` elements, each `work` multiply-adds."""
    return team(size * work, ceil_div(size, CHUNK))


cdef void relu_chunks(const floating* input, Py_ssize_t size, floating* output, int threads) noexcept nogil:
    cdef Py_ssize_t t
    if threads == 1:
        relu_chunk(input, size, output)
    else:
        for t in prange(ceil_div(size, CHUNK), num_threads=threads):
            relu_chunk(input + t * CHUNK, min(CHUNK, size - t * CHUNK), output + t * CHUNK)


cdef void relu_chunk(const floating* input, Py_ssize_t size, floating* output) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        output[i] = <floating>0 if input[i] <= 0 else input[i]


cdef inline void rectify(floating* values, Py_ssize_t count) noexcept nogil:
    # relu_chunk in place, behind a product: one pointer, or the compiler would fear that two overlap
    cdef Py_ssize_t i
    for i in range(count):
        values[i] = <floating>0 if values[i] <= 0 else values[i]


def relu_backward(grad_output, output, grad_input):
    """grad_input = 0 where output <= 0, else grad_output."""
    cdef Array dy = array_in(grad_output)  # of any shape
    cdef Array y = array_in(output)        # like grad_output
    cdef Array dx = array_out(grad_input)  # like grad_output
    cdef int threads = chunk_team(y.size, 1)
    with nogil:
        if y.itemsize == sizeof(float):
            relu_backward_chunks[float](<float*>dy.data, <float*>y.data, y.size, <float*>dx.data, threads)
        else:
            relu_backward_chunks[double](<double*>dy.data, <double*>y.data, y.size, <double*>dx.data, threads)


cdef void relu_backward_chunks(const floating* grad_output, const floating* output, Py_ssize_t size,
                               floating* grad_input, int threads) noexcept nogil:
    cdef Py_ssize_t t
    if threads == 1:
        relu_backward_chunk(grad_output, output, size, grad_input)
    else:
        for t in prange(ceil_div(size, CHUNK), num_threads=threads):
            relu_backward_chunk(grad_output + t * CHUNK, output + t * CHUNK, min(CHUNK, size - t * CHUNK),
                                grad_input + t * CHUNK)


cdef void relu_backward_chunk(const floating* grad_output, const floating* output, Py_ssize_t size,
                              floating* grad_input) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        grad_input[i] = <floating>0 if output[i] <= 0 else grad_output[i]


# ---------------------------------------------------------------- dropout

# The mask is a function of a seed and of the element's place, so that nothing of it is kept for the backward pass and
# threads may draw it in any order. SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
# generators", 2014) gives 64 bits: 32 for each of two elements.

cdef extern from *:
    """
    #define CYCONV_PAIRS 128
    """
    enum: CYCONV_PAIRS  # of elements, whose bits are drawn at once


def dropout(input, seed, p, output):
    """output = input / (1 - p), or input * 0 where the element's 32 bits are below p * 2**32."""
    cdef Array x = array_in(input)    # of any shape
    cdef Array y = array_out(output)  # like input
    cdef uint64_t start = seed
    cdef double scale = 1 / (1 - <double>p) if p < 1 else 0
    cdef uint32_t least = <uint32_t>min(<double>p * 4294967296.0 + 0.5, 4294967295.0)
    cdef int threads = chunk_team(x.size, 10)
    with nogil:
        if x.itemsize == sizeof(float):
            dropout_chunks[float](<float*>x.data, x.size, start, least, <float>scale, <float*>y.data, threads)
        else:
            dropout_chunks[double](<double*>x.data, x.size, start, least, scale, <double*>y.data, threads)


cdef void dropout_chunks(const floating* input, Py_ssize_t size, uint64_t seed, uint32_t least, floating scale,
                         floating* output, int threads) noexcept nogil:
    cdef Py_ssize_t t
    if threads == 1:
        dropout_chunk(input, 0, size, seed, least, scale, output)
    else:
        for t in prange(ceil_div(size, CHUNK), num_threads=threads):
            dropout_chunk(input, t * CHUNK, min(size, (t + 1) * CHUNK), seed, least, scale, output)


cdef void dropout_chunk(const floating* input, Py_ssize_t start, Py_ssize_t stop, uint64_t seed, uint32_t least,
                        floating scale, floating* output) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    cdef uint64_t word
    cdef uint32_t bits[2 * CYCONV_PAIRS]
    cdef Py_ssize_t j, i, count
    while start < stop:
        for j in range(CYCONV_PAIRS):
            word = seed + <uint64_t>(start // 2 + j + 1) * 0x9E3779B97F4A7C15ULL
            word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9ULL
            word = (word ^ (word >> 27)) * 0x94D049BB133111EBULL
            word ^= word >> 31
            bits[2 * j] = <uint32_t>word
            bits[2 * j + 1] = <uint32_t>(word >> 32)
        count = min(2 * CYCONV_PAIRS, stop - start)
        for i in range(count):
            output[start + i] = input[start + i] * (scale if bits[i] >= least else <floating>0)
        start += 2 * CYCONV_PAIRS
    restore_denormals(control)
