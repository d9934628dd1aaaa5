# The rectifier and its gradient, in chunks over the team; the loops are vectors.

cdef Py_ssize_t CHUNK = 1 << 15  # elements of one task


def relu_forward(input, output):
    """output = max(0, input); NaN stays NaN."""
    if input.itemsize == sizeof(float):
        relu_chunks[float](input, output)
    else:
        relu_chunks[double](input, output)


cdef int relu_chunks(const floating[::1] input,  # IN
                     floating[::1] output,       # OUT
                     ) except -1:
    cdef Py_ssize_t size = input.shape[0], tasks = ceil_div(size, CHUNK), t
    cdef int threads = team(<double>size, tasks)
    for t in prange(tasks, num_threads=threads, nogil=True):
        relu_chunk(&input[0] + t * CHUNK, min(CHUNK, size - t * CHUNK), &output[0] + t * CHUNK)
    return 0


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
    if output.itemsize == sizeof(float):
        relu_backward_chunks[float](grad_output, output, grad_input)
    else:
        relu_backward_chunks[double](grad_output, output, grad_input)


cdef int relu_backward_chunks(const floating[::1] grad_output,  # IN
                              const floating[::1] output,       # IN
                              floating[::1] grad_input,         # OUT
                              ) except -1:
    cdef Py_ssize_t size = output.shape[0], tasks = ceil_div(size, CHUNK), t
    cdef int threads = team(<double>size, tasks)
    for t in prange(tasks, num_threads=threads, nogil=True):
        relu_backward_chunk(&grad_output[0] + t * CHUNK, &output[0] + t * CHUNK, min(CHUNK, size - t * CHUNK),
                            &grad_input[0] + t * CHUNK)
    return 0


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
    cdef double scale = 1 / (1 - <double>p) if p < 1 else 0
    cdef uint32_t least = <uint32_t>min(<double>p * 4294967296.0 + 0.5, 4294967295.0)
    if input.itemsize == sizeof(float):
        dropout_chunks[float](input, seed, least, scale, output)
    else:
        dropout_chunks[double](input, seed, least, scale, output)


cdef int dropout_chunks(const floating[::1] input,  # IN
                        uint64_t seed, uint32_t least, floating scale,
                        floating[::1] output,       # OUT
                        ) except -1:
    cdef Py_ssize_t size = input.shape[0], tasks = ceil_div(size, CHUNK), t
    cdef int threads = team(<double>size * 10, tasks)
    cdef uint64_t control = 0
    with nogil, parallel(num_threads=threads):
        control = flush_denormals()
        for t in prange(tasks):
            dropout_chunk(&input[0], t * CHUNK, min(size, (t + 1) * CHUNK), seed, least, scale, &output[0])
        restore_denormals(control)
    return 0


cdef void dropout_chunk(const floating* input, Py_ssize_t start, Py_ssize_t stop, uint64_t seed, uint32_t least,
                        floating scale, floating* output) noexcept nogil:
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
