# im2col and col2im: the leaves that the convolution uses a tile at a time, and the public whole ones.

cdef void im2col_tile(const floating* image, Py_ssize_t H_in, Py_ssize_t W_in, Py_ssize_t W_out,
                      const Window* window, Py_ssize_t tap_start, Py_ssize_t tap_stop,
                      Py_ssize_t start, Py_ssize_t stop,
                      floating* columns, Py_ssize_t row_length) noexcept nogil:
    """columns[t - tap_start, l - start] = the padded image under tap t = (c, i, j) at output position l."""
    cdef Py_ssize_t taps = window.kernel_h * window.kernel_w
    cdef Py_ssize_t tap, c, i, j, x_shift, x_first, x_past
    for tap in range(tap_start, tap_stop):
        c = tap // taps
        i = tap % taps // window.kernel_w
        j = tap % window.kernel_w
        x_shift = j * window.dilation_w - window.pad_left  # column in the image of output column 0
        x_first = min(W_out, first_inside(x_shift, window.stride_w))
        x_past = max(x_first, past_inside(x_shift, window.stride_w, W_in, W_out))
        if W_out == W_in and window.stride_h == 1 and window.stride_w == 1:
            im2col_shifted(image + c * H_in * W_in, H_in, W_in, i * window.dilation_h - window.pad_top, x_shift,
                           x_first, x_past, start, stop, columns + (tap - tap_start) * row_length)
        else:
            im2col_row(image + c * H_in * W_in, H_in, W_in, W_out, window,
                       i * window.dilation_h - window.pad_top, x_shift, x_first, x_past,
                       start, stop, columns + (tap - tap_start) * row_length)


cdef inline void im2col_shifted(const floating* plane, Py_ssize_t H, Py_ssize_t W, Py_ssize_t y_shift,
                                Py_ssize_t x_shift, Py_ssize_t x_first, Py_ssize_t x_past, Py_ssize_t start,
                                Py_ssize_t stop, floating* row) noexcept nogil:
    """im2col_row where the output is as wide as the image: one tap is the plane, shifted, in one piece."""
    cdef Py_ssize_t shift = y_shift * W + x_shift
    # positions in rows of the image, and in the plane
    cdef Py_ssize_t first = max(start, max(-y_shift * W, -shift))
    cdef Py_ssize_t past = min(stop, min((H - y_shift) * W, H * W - shift))
    cdef Py_ssize_t l, x
    if first >= past:
        memset(row, 0, (stop - start) * sizeof(floating))
        return
    memset(row, 0, (first - start) * sizeof(floating))
    memcpy(row + first - start, plane + first + shift, (past - first) * sizeof(floating))
    memset(row + past - start, 0, (stop - past) * sizeof(floating))
    if x_first == 0 and x_past == W:
        return
    row -= start
    l = first // W * W
    while l < past:  # what was copied from the end of the row before, or the start of the next, is padding
        for x in range(max(l, first), min(l + x_first, past)):
            row[x] = 0
        for x in range(max(l + x_past, first), min(l + W, past)):
            row[x] = 0
        l += W


cdef inline void im2col_row(const floating* plane, Py_ssize_t H_in, Py_ssize_t W_in, Py_ssize_t W_out,
                            const Window* window, Py_ssize_t y_shift, Py_ssize_t x_shift,
                            Py_ssize_t x_first, Py_ssize_t x_past, Py_ssize_t start, Py_ssize_t stop,
                            floating* row) noexcept nogil:
    """One tap at output positions start..stop: outside x_first..x_past it lies in padding."""
    cdef Py_ssize_t y = start // W_out
    cdef Py_ssize_t x0 = start - y * W_out
    cdef Py_ssize_t remaining = stop - start
    cdef Py_ssize_t x1, y_in, x, first, past, stride_w = window.stride_w
    cdef const floating* pixels
    while remaining > 0:
        x1 = min(W_out, x0 + remaining)
        y_in = y * window.stride_h + y_shift
        first = x1 if y_in < 0 or y_in >= H_in else min(max(x_first, x0), x1)
        past = max(first, min(x_past, x1))
        for x in range(x0, first):
            row[x - x0] = 0
        if past > first:
            pixels = plane + y_in * W_in + x_shift
            if stride_w == 1:
                for x in range(first, past):
                    row[x - x0] = pixels[x]
            elif stride_w == 2:  # a constant stride is vectorised
                for x in range(first, past):
                    row[x - x0] = pixels[x * 2]
            elif stride_w == 4:
                for x in range(first, past):
                    row[x - x0] = pixels[x * 4]
            else:
                for x in range(first, past):
                    row[x - x0] = pixels[x * stride_w]
        for x in range(past, x1):
            row[x - x0] = 0
        row += x1 - x0
        remaining -= x1 - x0
        x0 = 0
        y += 1


cdef void col2im_tile(const floating* columns, Py_ssize_t row_length, Py_ssize_t H_in, Py_ssize_t W_in,
                      Py_ssize_t W_out, const Window* window, Py_ssize_t tap_start, Py_ssize_t tap_stop,
                      Py_ssize_t start, Py_ssize_t stop, Py_ssize_t y_first, Py_ssize_t y_past,
                      floating* image) noexcept nogil:
    """The adjoint of im2col_tile: image += columns, in the image's rows y_first..y_past alone."""
    cdef Py_ssize_t taps = window.kernel_h * window.kernel_w
    cdef Py_ssize_t tap, c, i, j, x_shift, x_first, x_past
    for tap in range(tap_start, tap_stop):
        c = tap // taps
        i = tap % taps // window.kernel_w
        j = tap % window.kernel_w
        x_shift = j * window.dilation_w - window.pad_left
        x_first = min(W_out, first_inside(x_shift, window.stride_w))
        x_past = max(x_first, past_inside(x_shift, window.stride_w, W_in, W_out))
        col2im_row(columns + (tap - tap_start) * row_length, W_in, W_out, window,
                   i * window.dilation_h - window.pad_top, x_shift, x_first, x_past,
                   start, stop, y_first, y_past, image + c * H_in * W_in)


cdef inline void col2im_row(const floating* row, Py_ssize_t W_in, Py_ssize_t W_out, const Window* window,
                            Py_ssize_t y_shift, Py_ssize_t x_shift, Py_ssize_t x_first, Py_ssize_t x_past,
                            Py_ssize_t start, Py_ssize_t stop, Py_ssize_t y_first, Py_ssize_t y_past,
                            floating* plane) noexcept nogil:
    cdef Py_ssize_t y = start // W_out
    cdef Py_ssize_t x0 = start - y * W_out
    cdef Py_ssize_t remaining = stop - start
    cdef Py_ssize_t x1, y_in, x, first, past, stride_w = window.stride_w
    cdef floating* pixels
    while remaining > 0:
        x1 = min(W_out, x0 + remaining)
        y_in = y * window.stride_h + y_shift
        first = min(max(x_first, x0), x1)
        past = max(first, min(x_past, x1))
        if y_first <= y_in < y_past and past > first:
            pixels = plane + y_in * W_in + x_shift
            if stride_w == 1:
                for x in range(first, past):
                    pixels[x] += row[x - x0]
            else:
                for x in range(first, past):
                    pixels[x * stride_w] += row[x - x0]
        row += x1 - x0
        remaining -= x1 - x0
        x0 = 0
        y += 1


def im2col(input, window, columns):
    """columns[n, (c, i, j), (y, x)] = the padded image n, channel c, under tap (i, j) of window (y, x)."""
    if input.itemsize == sizeof(float):
        im2col_whole[float](input, c_window(window), columns)
    else:
        im2col_whole[double](input, c_window(window), columns)


cdef int im2col_whole(const floating[:, :, :, ::1] input,  # IN (N, C, H_in, W_in)
                      Window window,
                      floating[:, :, ::1] columns,         # OUT (N, C*kernel_h*kernel_w, H_out*W_out)
                      ) except -1:
    cdef int threads = _threads.get_num_threads()
    with nogil:
        im2col_planes(&input[0, 0, 0, 0], input.shape[0] * input.shape[1], input.shape[2], input.shape[3],
                      &window, columns.shape[2], &columns[0, 0, 0], threads)
    return 0


cdef void im2col_planes(const floating* input, Py_ssize_t planes, Py_ssize_t H_in, Py_ssize_t W_in,
                        const Window* window, Py_ssize_t L, floating* columns, int threads) noexcept nogil:
    cdef Py_ssize_t taps = window.kernel_h * window.kernel_w
    cdef Py_ssize_t W_out = window_count(W_in, window.pad_left + window.pad_right, window.kernel_w,
                                         window.dilation_w, window.stride_w)
    cdef Py_ssize_t p
    threads = team_of(threads, <double>planes * taps * L, planes)
    for p in prange(planes, num_threads=threads):
        im2col_tile(input + p * H_in * W_in, H_in, W_in, W_out, window, 0, taps, 0, L, columns + p * taps * L, L)


cdef inline Py_ssize_t window_count(Py_ssize_t size, Py_ssize_t padding, Py_ssize_t kernel,
                                    Py_ssize_t dilation, Py_ssize_t stride) noexcept nogil:
    """How many windows fit: the formula of cyconv._window, for im2col, which is given only their product."""
    return (size + padding - dilation * (kernel - 1) - 1) // stride + 1


def col2im(columns, window, output):
    """output = the adjoint of im2col: every column added back to the pixels that it came from."""
    if columns.itemsize == sizeof(float):
        col2im_whole[float](columns, c_window(window), output)
    else:
        col2im_whole[double](columns, c_window(window), output)


cdef int col2im_whole(const floating[:, :, ::1] columns,  # IN (N, C*kernel_h*kernel_w, H_out*W_out)
                      Window window,
                      floating[:, :, :, ::1] output,      # OUT (N, C, H, W)
                      ) except -1:
    cdef int threads = _threads.get_num_threads()
    with nogil:
        col2im_planes(&columns[0, 0, 0], output.shape[0] * output.shape[1], output.shape[2], output.shape[3],
                      &window, columns.shape[2], &output[0, 0, 0, 0], threads)
    return 0


cdef void col2im_planes(const floating* columns, Py_ssize_t planes, Py_ssize_t H, Py_ssize_t W,
                        const Window* window, Py_ssize_t L, floating* output, int threads) noexcept nogil:
    cdef Py_ssize_t taps = window.kernel_h * window.kernel_w
    cdef Py_ssize_t W_out = window_count(W, window.pad_left + window.pad_right, window.kernel_w,
                                         window.dilation_w, window.stride_w)
    cdef Py_ssize_t p
    threads = team_of(threads, <double>planes * taps * L, planes)
    for p in prange(planes, num_threads=threads):
        col2im_plane(columns + p * taps * L, L, H, W, W_out, window, output + p * H * W)


cdef void col2im_plane(const floating* columns, Py_ssize_t L, Py_ssize_t H, Py_ssize_t W, Py_ssize_t W_out,
                       const Window* window, floating* plane) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    memset(plane, 0, H * W * sizeof(floating))
    col2im_tile(columns, L, H, W, W_out, window, 0, window.kernel_h * window.kernel_w, 0, L, 0, H, plane)
    restore_denormals(control)
