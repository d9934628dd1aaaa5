# im2col and col2im: the leaves that the convolution uses a tile at a time, and the public whole ones.

cdef Py_ssize_t PLANE_BYTES = 64 << 10  # at most, that are fetched ahead into the L2 cache


cdef void im2col_tile(const floating* image, Py_ssize_t H_in, Py_ssize_t W_in, Py_ssize_t W_out,
                      const Window* window, Py_ssize_t tap_start, Py_ssize_t tap_stop,
                      Py_ssize_t start, Py_ssize_t stop,
                      floating* columns, Py_ssize_t row_length) noexcept nogil:
    """columns[t - tap_start, l - start] = the padded image under tap t = (c, i, j) at output position l."""
    cdef Py_ssize_t taps = window.kernel_h * window.kernel_w, plane = H_in * W_in
    cdef Py_ssize_t c = tap_start // taps, i = tap_start % taps // window.kernel_w, j = tap_start % window.kernel_w
    cdef Py_ssize_t y0 = start // W_out, x0 = start - y0 * W_out, tap, x_shift, y_shift, x_first, x_past
    cdef bint shifted = W_out == W_in and window.stride_h == 1 and window.stride_w == 1
    cdef Py_ssize_t ahead = min(PLANE_BYTES, ((stop - start) // W_out + 1) * window.stride_h * W_in * <Py_ssize_t>sizeof(floating))
    image += c * plane
    for tap in range(tap_start, tap_stop):
        if i == 0 and j == 0 and tap + taps < tap_stop:  # the next channel's rows
            prefetch(image + plane + y0 * window.stride_h * W_in, ahead)
        x_shift = j * window.dilation_w - window.pad_left  # column in the image of output column 0
        y_shift = i * window.dilation_h - window.pad_top
        if shifted:
            x_first = min(W_out, first_inside(x_shift, 1))
            x_past = max(x_first, past_inside(x_shift, 1, W_in, W_out))
            im2col_shifted(image, H_in, W_in, y_shift, x_shift, x_first, x_past, start, stop, columns)
        else:
            # whether some windows reach beyond the image, at its left or at its right
            im2col_row(image, H_in, W_in, W_out, window, y_shift, x_shift,
                       x_shift < 0 or x_shift + (W_out - 1) * window.stride_w >= W_in, y0, x0, stop - start, columns)
        columns += row_length
        j += 1
        if j == window.kernel_w:
            i, j = i + 1, 0
            if i == window.kernel_h:
                i = 0
                image += plane


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
                            const Window* window, Py_ssize_t y_shift, Py_ssize_t x_shift, bint padded,
                            Py_ssize_t y, Py_ssize_t x, Py_ssize_t length, floating* row) noexcept nogil:
    """One tap at `length` positions from (y, x) on: the end of a row, whole rows, the start of one; some in padding or not."""
    cdef Py_ssize_t y_in, rows, count
    while length > 0:
        rows, count = 1, min(W_out - x, length)
        if count == W_out:
            rows = length // W_out
        y_in = y * window.stride_h + y_shift
        if padded or y_in < 0 or y_in + (rows - 1) * window.stride_h >= H_in:
            memset(row, 0, rows * count * sizeof(floating))
        lay_rows(plane, W_in, H_in, W_in, y_in, window.stride_h, x * window.stride_w + x_shift, window.stride_w, rows, count,
                 row)
        row += rows * count
        length -= rows * count
        y += rows
        x = 0


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
    cdef Array x = array_in(input)     # (N, C, H_in, W_in)
    cdef Array y = array_out(columns)  # (N, C*kernel_h*kernel_w, H_out*W_out)
    cdef Conv conv = columns_sizes(x.shape, y.shape[2], c_window(window))
    with nogil:
        if x.itemsize == sizeof(float):
            im2col_planes[float](&conv, <float*>x.data, <float*>y.data)
        else:
            im2col_planes[double](&conv, <double*>x.data, <double*>y.data)


cdef Conv columns_sizes(const Py_ssize_t* image, Py_ssize_t L, Window window) except *:
    """Sizes from the image's and L = H_out*W_out, which is all that columns tell."""
    cdef Py_ssize_t[4] output
    output[0], output[1] = image[0], image[1]
    output[3] = max(1, windows(image[3], window.pad_left, window.pad_right, window.kernel_w, window.dilation_w,
                               window.stride_w, False))
    output[2] = L // output[3]
    return conv_sizes(image, output, window, 1)


cdef void im2col_planes(const Conv* conv, const floating* input, floating* columns) noexcept nogil:
    cdef Py_ssize_t planes = conv.N * conv.C_in
    cdef int threads = plane_team(conv), t
    if threads == 1:
        im2col_part(conv, 0, planes, input, columns)
    else:
        for t in prange(threads, num_threads=threads):
            im2col_part(conv, planes * t // threads, planes * (t + 1) // threads, input, columns)


cdef void im2col_part(const Conv* conv, Py_ssize_t first, Py_ssize_t past, const floating* input,
                      floating* columns) noexcept nogil:
    """The columns of the planes first..past."""
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w
    im2col_tile(input, conv.H_in, conv.W_in, conv.W_out, &conv.window, first * taps, past * taps, 0, conv.L,
                columns + first * taps * conv.L, conv.L)


def col2im(columns, window, output):
    """output = the adjoint of im2col: every column added back to the pixels that it came from."""
    cdef Array x = array_in(columns)  # (N, C*kernel_h*kernel_w, H_out*W_out)
    cdef Array y = array_out(output)  # (N, C, H, W)
    cdef Conv conv = columns_sizes(y.shape, x.shape[2], c_window(window))
    with nogil:
        if x.itemsize == sizeof(float):
            col2im_planes[float](&conv, <float*>x.data, <float*>y.data)
        else:
            col2im_planes[double](&conv, <double*>x.data, <double*>y.data)


cdef void col2im_planes(const Conv* conv, const floating* columns, floating* output) noexcept nogil:
    cdef Py_ssize_t planes = conv.N * conv.C_in
    cdef int threads = plane_team(conv), t
    if threads == 1:
        col2im_part(conv, 0, planes, columns, output)
    else:
        for t in prange(threads, num_threads=threads):
            col2im_part(conv, planes * t // threads, planes * (t + 1) // threads, columns, output)


cdef void col2im_part(const Conv* conv, Py_ssize_t first, Py_ssize_t past, const floating* columns,
                      floating* output) noexcept nogil:
    """The planes first..past."""
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t H = conv.H_in, W = conv.W_in, L = conv.L, p
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w
    for p in range(first, past):
        memset(output + p * H * W, 0, H * W * sizeof(floating))
        col2im_tile(columns + p * taps * L, L, H, W, conv.W_out, &conv.window, 0, taps, 0, L, 0, H, output + p * H * W)
    restore_denormals(control)
