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
