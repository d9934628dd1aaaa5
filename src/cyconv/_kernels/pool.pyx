# Max and average pooling, one plane at a time; planes are divided over the team.

cdef extern from "stream.h":
    const size_t CYCONV_STREAM_BYTES
    void prefetch "cyconv_prefetch"(const void* memory, Py_ssize_t size) noexcept nogil
    void stream_out "cyconv_stream_out"(void* out, void* source, size_t bytes) noexcept nogil

cdef size_t BUFFERED_PLANE = 256 << 10  # bytes of the largest plane that is made in cache before it is written


def max_pool2d_forward(input, window, output, indices):
    """output = max of each window; indices (or None) = its flat position in the plane."""
    if input.itemsize == sizeof(float):
        max_forward[float](input, c_window(window), output, indices)
    else:
        max_forward[double](input, c_window(window), output, indices)


cdef int max_forward(const floating[:, :, :, ::1] input,  # IN (N, C, H_in, W_in)
                     Window window,
                     floating[:, :, :, ::1] output,       # OUT (N, C, H_out, W_out)
                     long long[:, :, :, ::1] indices,     # OUT like output, or None
                     ) except -1:
    cdef int threads = _threads.get_num_threads()
    cdef long long* indices_ = NULL
    if indices is not None:
        indices_ = &indices[0, 0, 0, 0]
    with nogil:
        max_planes(&input[0, 0, 0, 0], input.shape[0] * input.shape[1], input.shape[2], input.shape[3], &window,
                   output.shape[2], output.shape[3], &output[0, 0, 0, 0], indices_, threads)
    return 0


cdef void max_planes(const floating* input, Py_ssize_t planes, Py_ssize_t H_in, Py_ssize_t W_in, const Window* window,
                     Py_ssize_t H_out, Py_ssize_t W_out, floating* output, long long* indices,
                     int threads) noexcept nogil:
    cdef Py_ssize_t L = H_out * W_out, p
    threads = team_of(threads, <double>planes * L * window.kernel_h * window.kernel_w, planes)
    for p in prange(planes, num_threads=threads):
        max_plane(input + p * H_in * W_in, H_in, W_in, window, H_out, W_out, output + p * L,
                  indices + p * L if indices != NULL else NULL)


cdef inline void prefetch_rows(const floating* end, Py_ssize_t size) noexcept nogil:
    """Where the rows of a window end at `end`: those that the window after the next will be the first to read."""
    prefetch(<const char*>end + 1024, size * sizeof(floating))


def max_pool2d_backward(grad_output, indices, grad_input):
    """grad_input[index] += grad_output; returns how many indices lie outside the plane (-1 is legal)."""
    if grad_output.itemsize == sizeof(float):
        return max_backward[float](grad_output, indices, grad_input)
    return max_backward[double](grad_output, indices, grad_input)


cdef Py_ssize_t max_backward(const floating[:, :, :, ::1] grad_output,  # IN (N, C, H_out, W_out)
                             const long long[:, :, :, ::1] indices,     # IN like grad_output
                             floating[:, :, :, ::1] grad_input,         # OUT (N, C, H_in, W_in)
                             ) except -1:
    cdef int threads = _threads.get_num_threads()
    cdef Py_ssize_t outside
    with nogil:
        outside = max_backward_planes(
            &grad_output[0, 0, 0, 0], &indices[0, 0, 0, 0], grad_input.shape[0] * grad_input.shape[1],
            grad_output.shape[2] * grad_output.shape[3], &grad_input[0, 0, 0, 0],
            grad_input.shape[2] * grad_input.shape[3], threads)
    return outside


cdef Py_ssize_t max_backward_planes(const floating* grad_output, const long long* indices, Py_ssize_t planes,
                                    Py_ssize_t size_out, floating* grad_input, Py_ssize_t size_in,
                                    int threads) noexcept nogil:
    cdef Py_ssize_t p, outside = 0
    cdef char* buffers
    threads = team_of(threads, <double>planes * size_in * 10, planes)
    buffers = plane_buffers(planes, size_in * sizeof(floating), threads)
    for p in prange(planes, num_threads=threads):
        outside += max_backward_plane(grad_output + p * size_out, indices + p * size_out, size_out,
                                      grad_input + p * size_in, size_in, buffer_of(buffers, threadid()))
    cyconv_release(buffers)
    return outside


cdef char* plane_buffers(Py_ssize_t planes, size_t plane_bytes, int threads) noexcept nogil:
    """A plane of zeros for each thread, where planes are to be made in cache before they are written; else NULL."""
    cdef char* buffers
    if plane_bytes > BUFFERED_PLANE or <double>planes * plane_bytes < CYCONV_STREAM_BYTES:
        return NULL
    buffers = <char*>cyconv_acquire(threads * BUFFERED_PLANE)
    if buffers != NULL:  # it is only slower without
        memset(buffers, 0, threads * BUFFERED_PLANE)
    return buffers


cdef inline char* buffer_of(char* buffers, Py_ssize_t thread) noexcept nogil:
    return NULL if buffers == NULL else buffers + thread * BUFFERED_PLANE


cdef Py_ssize_t max_backward_plane(const floating* grad_output, const long long* indices, Py_ssize_t size_out,
                                   floating* grad_input, Py_ssize_t size_in, char* buffer) noexcept nogil:
    """Through `buffer`, of zeros, unless it is NULL: then no memory is read to be overwritten."""
    cdef Py_ssize_t outside
    if buffer == NULL:
        memset(grad_input, 0, size_in * sizeof(floating))
        return scatter_maxima(grad_output, indices, size_out, grad_input, size_in)
    outside = scatter_maxima(grad_output, indices, size_out, <floating*>buffer, size_in)
    stream_out(grad_input, buffer, size_in * sizeof(floating))
    return outside


cdef Py_ssize_t scatter_maxima(const floating* grad_output, const long long* indices, Py_ssize_t size_out, floating* plane,
                        Py_ssize_t size_in) noexcept nogil:
    cdef Py_ssize_t l, outside = 0
    for l in range(size_out):
        if <size_t>indices[l] < <size_t>size_in:  # and not negative
            plane[indices[l]] += grad_output[l]
        elif indices[l] != -1:
            outside += 1
    return outside


def avg_pool2d_forward(input, window, count_include_pad, output):
    """output = sum of each window / its number of pixels."""
    if input.itemsize == sizeof(float):
        avg_forward[float](input, c_window(window), count_include_pad, output)
    else:
        avg_forward[double](input, c_window(window), count_include_pad, output)


cdef int avg_forward(const floating[:, :, :, ::1] input,  # IN (N, C, H_in, W_in)
                     Window window,
                     bint count_include_pad,
                     floating[:, :, :, ::1] output,       # OUT (N, C, H_out, W_out)
                     ) except -1:
    cdef Py_ssize_t H_in = input.shape[2], W_in = input.shape[3]
    cdef Py_ssize_t H_out = output.shape[2], W_out = output.shape[3]
    cdef Py_ssize_t planes = input.shape[0] * input.shape[1], p
    cdef int threads = team(<double>planes * H_out * W_out * window.kernel_h * window.kernel_w, planes)
    cdef uint64_t control = 0
    if planes == 0:
        return 0
    with nogil, parallel(num_threads=threads):
        control = flush_denormals()
        for p in prange(planes):
            avg_plane(&input[0, 0, 0, 0] + p * H_in * W_in, H_in, W_in, &window, count_include_pad, H_out, W_out,
                      &output[0, 0, 0, 0] + p * H_out * W_out)
        restore_denormals(control)
    return 0


cdef struct Rows:
    # The rows start..stop of the image that a window sees, and how many count.
    Py_ssize_t start, stop, height


cdef inline Rows rows_of(Py_ssize_t y, const Window* window, Py_ssize_t H_in, bint count_include_pad) noexcept nogil:
    cdef Rows rows
    cdef Py_ssize_t first = y * window.stride_h - window.pad_top
    rows.start = max(first, 0)
    rows.stop = min(first + window.kernel_h, H_in)
    # what hangs over the padding (ceil_mode) never counts
    rows.height = min(first + window.kernel_h, H_in + window.pad_bottom) - first if count_include_pad else \
        rows.stop - rows.start
    return rows


cdef void avg_plane(const floating* plane, Py_ssize_t H_in, Py_ssize_t W_in, const Window* window,
                    bint count_include_pad, Py_ssize_t H_out, Py_ssize_t W_out, floating* output) noexcept nogil:
    cdef Py_ssize_t y
    cdef Rows rows
    for y in range(H_out):
        rows = rows_of(y, window, H_in, count_include_pad)
        average_row(plane + rows.start * W_in, rows.stop - rows.start, W_in, -window.pad_left, window.stride_w,
                    window.kernel_w, window.pad_right, count_include_pad, rows.height, W_out, output + y * W_out)
        prefetch_rows(plane + rows.stop * W_in, window.stride_h * W_in)


def avg_pool2d_backward(grad_output, window, count_include_pad, grad_input):
    """grad_input = every output's gradient / divisor, added to each pixel of its window."""
    if grad_output.itemsize == sizeof(float):
        avg_backward[float](grad_output, c_window(window), count_include_pad, grad_input)
    else:
        avg_backward[double](grad_output, c_window(window), count_include_pad, grad_input)


cdef int avg_backward(const floating[:, :, :, ::1] grad_output,  # IN (N, C, H_out, W_out)
                      Window window,
                      bint count_include_pad,
                      floating[:, :, :, ::1] grad_input,         # OUT (N, C, H_in, W_in)
                      ) except -1:
    cdef Py_ssize_t H_in = grad_input.shape[2], W_in = grad_input.shape[3]
    cdef Py_ssize_t H_out = grad_output.shape[2], W_out = grad_output.shape[3]
    cdef Py_ssize_t planes = grad_input.shape[0] * grad_input.shape[1], p
    cdef int threads = team(<double>planes * H_out * W_out * window.kernel_h * window.kernel_w, planes)
    cdef uint64_t control = 0
    cdef char* buffers
    if planes == 0:
        return 0
    with nogil:
        buffers = plane_buffers(planes, H_in * W_in * sizeof(floating), threads)
        with parallel(num_threads=threads):
            control = flush_denormals()
            for p in prange(planes):
                avg_backward_plane(&grad_output[0, 0, 0, 0] + p * H_out * W_out, H_out, W_out, &window,
                                   count_include_pad, H_in, W_in, &grad_input[0, 0, 0, 0] + p * H_in * W_in,
                                   buffer_of(buffers, threadid()))
            restore_denormals(control)
        cyconv_release(buffers)
    return 0


cdef void avg_backward_plane(const floating* grad_output, Py_ssize_t H_out, Py_ssize_t W_out, const Window* window,
                             bint count_include_pad, Py_ssize_t H_in, Py_ssize_t W_in, floating* grad_input,
                             char* buffer) noexcept nogil:
    """Through `buffer`, of zeros, unless it is NULL."""
    cdef Py_ssize_t y, ready = H_in if buffer != NULL else 0  # rows that are 0, or have sums
    cdef floating* plane = <floating*>buffer if buffer != NULL else grad_input
    cdef Rows rows
    for y in range(H_out):
        rows = rows_of(y, window, H_in, count_include_pad)
        if rows.stop > ready:
            memset(plane + ready * W_in, 0, (rows.stop - ready) * W_in * sizeof(floating))
            ready = rows.stop
        share_row(grad_output + y * W_out, rows.stop - rows.start, W_in, -window.pad_left, window.stride_w,
                  window.kernel_w, window.pad_right, count_include_pad, rows.height, W_out, plane + rows.start * W_in)
    if buffer != NULL:
        stream_out(grad_input, buffer, H_in * W_in * sizeof(floating))
    elif ready < H_in:
        memset(plane + ready * W_in, 0, (H_in - ready) * W_in * sizeof(floating))
