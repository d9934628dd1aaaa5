# Max and average pooling, one plane at a time; planes are divided over the team.

cdef extern from "stream.h":
    const size_t CYCONV_STREAM_BYTES
    void prefetch "cyconv_prefetch"(const void* memory, Py_ssize_t size) noexcept nogil
    void stream_out "cyconv_stream_out"(void* out, void* source, size_t bytes) noexcept nogil

cdef Py_ssize_t BUFFERED_PLANE = 256 << 10  # bytes of the largest plane that is made in cache before it is written


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


cdef void max_plane(const floating* plane, Py_ssize_t H_in, Py_ssize_t W_in, const Window* window,
                    Py_ssize_t H_out, Py_ssize_t W_out, floating* output, long long* indices) noexcept nogil:
    cdef Py_ssize_t y, row, first, past
    for y in range(H_out):
        row = y * window.stride_h - window.pad_top
        first = first_inside(row, window.dilation_h)  # rows of the window that lie in the image
        past = max(first, past_inside(row, window.dilation_h, H_in, window.kernel_h))
        row += first * window.dilation_h
        max_row(plane + row * W_in, window.dilation_h * W_in, past - first, W_in, -window.pad_left, window.stride_w,
                window.kernel_w, window.dilation_w, W_out, row * W_in, output + y * W_out,
                indices + y * W_out if indices != NULL else NULL)
        prefetch_rows(plane + (row + (past - first) * window.dilation_h) * W_in, window.stride_h * W_in)


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
    cdef Py_ssize_t plane_bytes = size_in * <Py_ssize_t>sizeof(floating), p, outside = 0
    cdef char* buffers = NULL  # a plane of each thread, all 0 between its uses
    threads = team_of(threads, <double>planes * size_in * 10, planes)
    if plane_bytes <= BUFFERED_PLANE and planes * plane_bytes >= <Py_ssize_t>CYCONV_STREAM_BYTES:
        buffers = <char*>cyconv_acquire(threads * BUFFERED_PLANE)  # without one it is only slower
    if buffers != NULL:
        memset(buffers, 0, threads * BUFFERED_PLANE)
    for p in prange(planes, num_threads=threads):
        outside += max_backward_plane(grad_output + p * size_out, indices + p * size_out, size_out,
                                      grad_input + p * size_in, size_in,
                                      buffers + threadid() * BUFFERED_PLANE if buffers != NULL else NULL)
    cyconv_release(buffers)
    return outside


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
    if planes == 0:
        return 0
    for p in prange(planes, num_threads=threads, nogil=True):
        avg_plane(&input[0, 0, 0, 0] + p * H_in * W_in, H_in, W_in, &window, count_include_pad, H_out, W_out,
                  &output[0, 0, 0, 0] + p * H_out * W_out)
    return 0


cdef struct Span:
    # One axis of an averaging window: pixels start..stop of the image, and by how many to divide.
    Py_ssize_t start, stop, count


cdef inline Span span(Py_ssize_t start, Py_ssize_t kernel, Py_ssize_t size, Py_ssize_t pad_after,
                      bint count_include_pad) noexcept nogil:
    cdef Span s
    s.start = max(start, 0)
    s.stop = min(start + kernel, size)
    # what hangs over the padding (ceil_mode) never counts
    s.count = min(start + kernel, size + pad_after) - start if count_include_pad else s.stop - s.start
    return s


cdef void avg_plane(const floating* plane, Py_ssize_t H_in, Py_ssize_t W_in, const Window* window,
                    bint count_include_pad, Py_ssize_t H_out, Py_ssize_t W_out, floating* output) noexcept nogil:
    cdef Py_ssize_t y, x, i, j
    cdef Span v, h
    cdef floating total
    for y in range(H_out):
        v = span(y * window.stride_h - window.pad_top, window.kernel_h, H_in, window.pad_bottom, count_include_pad)
        for x in range(W_out):
            h = span(x * window.stride_w - window.pad_left, window.kernel_w, W_in, window.pad_right,
                     count_include_pad)
            total = 0
            for i in range(v.start, v.stop):
                for j in range(h.start, h.stop):
                    total += plane[i * W_in + j]
            output[y * W_out + x] = total / <floating>(v.count * h.count)


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
    if planes == 0:
        return 0
    for p in prange(planes, num_threads=threads, nogil=True):
        avg_backward_plane(&grad_output[0, 0, 0, 0] + p * H_out * W_out, H_out, W_out, &window, count_include_pad,
                           H_in, W_in, &grad_input[0, 0, 0, 0] + p * H_in * W_in)
    return 0


cdef void avg_backward_plane(const floating* grad_output, Py_ssize_t H_out, Py_ssize_t W_out, const Window* window,
                             bint count_include_pad, Py_ssize_t H_in, Py_ssize_t W_in,
                             floating* grad_input) noexcept nogil:
    cdef Py_ssize_t y, x, i, j
    cdef Span v, h
    cdef floating share
    memset(grad_input, 0, H_in * W_in * sizeof(floating))
    for y in range(H_out):
        v = span(y * window.stride_h - window.pad_top, window.kernel_h, H_in, window.pad_bottom, count_include_pad)
        for x in range(W_out):
            h = span(x * window.stride_w - window.pad_left, window.kernel_w, W_in, window.pad_right,
                     count_include_pad)
            share = grad_output[y * W_out + x] / <floating>(v.count * h.count)
            for i in range(v.start, v.stop):
                for j in range(h.start, h.stop):
                    grad_input[i * W_in + j] += share
