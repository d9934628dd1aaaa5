# Max and average pooling, one plane at a time. Each thread takes a part of the planes; `Conv` holds the sizes, of one
# group.

cdef extern from "stream.h":
    const size_t CYCONV_STREAM_BYTES
    void stream_out "cyconv_stream_out"(void* out, void* source, size_t bytes) noexcept nogil

cdef size_t BUFFERED_PLANE = 256 << 10  # bytes of the largest plane that is made in cache before it is written


def max_pool2d_forward(input, window, output, indices):
    """output = max of each window; indices (or None) = its flat position in the plane."""
    cdef Array x = array_in(input)          # (N, C, H_in, W_in)
    cdef Array y = array_out(output)        # (N, C, H_out, W_out)
    cdef Array places = array_out(indices)  # like output, of int64; or None
    cdef Conv pool = conv_sizes(x.shape, y.shape, c_window(window), 1)
    with nogil:
        if x.itemsize == sizeof(float):
            max_planes[float](&pool, <float*>x.data, <float*>y.data, <long long*>places.data)
        else:
            max_planes[double](&pool, <double*>x.data, <double*>y.data, <long long*>places.data)


cdef void max_planes(const Conv* pool, const floating* input, floating* output, long long* indices) noexcept nogil:
    """`indices` may be NULL."""
    cdef Py_ssize_t planes = pool.N * pool.C_in
    cdef int threads = plane_team(pool), t
    if threads == 1:
        max_part(pool, 0, planes, input, output, indices)
    else:
        for t in prange(threads, num_threads=threads):
            max_part(pool, planes * t // threads, planes * (t + 1) // threads, input, output, indices)


cdef void max_part(const Conv* pool, Py_ssize_t first, Py_ssize_t past, const floating* input, floating* output,
                   long long* indices) noexcept nogil:
    """The planes first..past."""
    cdef Py_ssize_t p
    for p in range(first, past):
        max_plane(input + p * pool.H_in * pool.W_in, pool.H_in, pool.W_in, &pool.window, pool.H_out, pool.W_out,
                  output + p * pool.L, indices + p * pool.L if indices != NULL else NULL)


cdef inline void prefetch_rows(const floating* end, Py_ssize_t size) noexcept nogil:
    """Where the rows of a window end at `end`: those that the window after the next will be the first to read."""
    prefetch(<const char*>end + 1024, size * sizeof(floating))


def max_pool2d_backward(grad_output, indices, grad_input):
    """grad_input[index] += grad_output; returns how many indices lie outside the plane (-1 is legal)."""
    cdef Array dy = array_in(grad_output)  # (N, C, H_out, W_out)
    cdef Array places = array_in(indices)  # like grad_output, of int64
    cdef Array dx = array_out(grad_input)  # (N, C, H_in, W_in)
    cdef Py_ssize_t planes = dx.shape[0] * dx.shape[1], outside
    cdef Py_ssize_t size_out = dy.shape[2] * dy.shape[3], size_in = dx.shape[2] * dx.shape[3]
    cdef int threads = _threads.get_num_threads()
    with nogil:
        if dy.itemsize == sizeof(float):
            outside = max_backward_planes[float](<float*>dy.data, <long long*>places.data, planes, size_out,
                                                 <float*>dx.data, size_in, threads)
        else:
            outside = max_backward_planes[double](<double*>dy.data, <long long*>places.data, planes, size_out,
                                                  <double*>dx.data, size_in, threads)
    return outside


cdef Py_ssize_t max_backward_planes(const floating* grad_output, const long long* indices, Py_ssize_t planes,
                                    Py_ssize_t size_out, floating* grad_input, Py_ssize_t size_in,
                                    int threads) noexcept nogil:
    cdef Py_ssize_t outside = 0
    cdef char* buffers
    cdef int t
    threads = team_of(threads, <double>planes * size_in * 10, planes)
    buffers = plane_buffers(planes, size_in * sizeof(floating), threads)
    if threads == 1:
        outside = max_backward_part(0, planes, grad_output, indices, size_out, grad_input, size_in, buffers)
    else:
        for t in prange(threads, num_threads=threads):
            outside += max_backward_part(planes * t // threads, planes * (t + 1) // threads, grad_output, indices,
                                         size_out, grad_input, size_in, buffer_of(buffers, t))
    cyconv_release(buffers)
    return outside


cdef Py_ssize_t max_backward_part(Py_ssize_t first, Py_ssize_t past, const floating* grad_output,
                                  const long long* indices, Py_ssize_t size_out, floating* grad_input,
                                  Py_ssize_t size_in, char* buffer) noexcept nogil:
    """The planes first..past."""
    cdef Py_ssize_t p, outside = 0
    for p in range(first, past):
        outside += max_backward_plane(grad_output + p * size_out, indices + p * size_out, size_out,
                                      grad_input + p * size_in, size_in, buffer)
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
    cdef Array x = array_in(input)    # (N, C, H_in, W_in)
    cdef Array y = array_out(output)  # (N, C, H_out, W_out)
    cdef Conv pool = conv_sizes(x.shape, y.shape, c_window(window), 1)
    cdef bint padded = count_include_pad
    with nogil:
        if x.itemsize == sizeof(float):
            avg_planes[float](&pool, padded, <float*>x.data, <float*>y.data)
        else:
            avg_planes[double](&pool, padded, <double*>x.data, <double*>y.data)


cdef void avg_planes(const Conv* pool, bint count_include_pad, const floating* input, floating* output) noexcept nogil:
    cdef Py_ssize_t planes = pool.N * pool.C_in
    cdef int threads = plane_team(pool), t
    if threads == 1:
        avg_part(pool, count_include_pad, 0, planes, input, output)
    else:
        for t in prange(threads, num_threads=threads):
            avg_part(pool, count_include_pad, planes * t // threads, planes * (t + 1) // threads, input, output)


cdef void avg_part(const Conv* pool, bint count_include_pad, Py_ssize_t first, Py_ssize_t past, const floating* input,
                   floating* output) noexcept nogil:
    """The planes first..past."""
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t p
    for p in range(first, past):
        avg_plane(input + p * pool.H_in * pool.W_in, pool.H_in, pool.W_in, &pool.window, count_include_pad, pool.H_out,
                  pool.W_out, output + p * pool.L)
    restore_denormals(control)


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
    cdef Array dy = array_in(grad_output)  # (N, C, H_out, W_out)
    cdef Array dx = array_out(grad_input)  # (N, C, H_in, W_in)
    cdef Conv pool = conv_sizes(dx.shape, dy.shape, c_window(window), 1)
    cdef bint padded = count_include_pad
    with nogil:
        if dy.itemsize == sizeof(float):
            avg_backward_planes[float](&pool, padded, <float*>dy.data, <float*>dx.data)
        else:
            avg_backward_planes[double](&pool, padded, <double*>dy.data, <double*>dx.data)


cdef void avg_backward_planes(const Conv* pool, bint count_include_pad, const floating* grad_output,
                              floating* grad_input) noexcept nogil:
    cdef Py_ssize_t planes = pool.N * pool.C_in
    cdef int threads = plane_team(pool), t
    cdef char* buffers = plane_buffers(planes, pool.H_in * pool.W_in * sizeof(floating), threads)
    if threads == 1:
        avg_backward_part(pool, count_include_pad, 0, planes, grad_output, grad_input, buffers)
    else:
        for t in prange(threads, num_threads=threads):
            avg_backward_part(pool, count_include_pad, planes * t // threads, planes * (t + 1) // threads, grad_output,
                              grad_input, buffer_of(buffers, t))
    cyconv_release(buffers)


cdef void avg_backward_part(const Conv* pool, bint count_include_pad, Py_ssize_t first, Py_ssize_t past,
                            const floating* grad_output, floating* grad_input, char* buffer) noexcept nogil:
    """The planes first..past."""
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t p
    for p in range(first, past):
        avg_backward_plane(grad_output + p * pool.L, pool.H_out, pool.W_out, &pool.window,
                           count_include_pad, pool.H_in, pool.W_in, grad_input + p * pool.H_in * pool.W_in, buffer)
    restore_denormals(control)


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
