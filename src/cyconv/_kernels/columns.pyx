# Columns of im2col that are never a matrix: for some channels at a time the rows of pixels under a tile are laid as lines,
# padded with zeros, by the phases of the stride (strips.pyx); every tap of the kernel is then a distance along them, and the
# panels of gemm are copied from there. A tile is some rows of outputs of one image, or several images; or a part of the only row.

cdef Py_ssize_t LONGEST_ROW = 1024    # of outputs: a tile has one at least, where there are several
cdef Py_ssize_t FARTHEST = 1 << 14    # of pixels under one window
cdef Py_ssize_t LINE_BYTES = 1 << 19  # of the lines of one product: with its panels they stay in the L2 cache


cdef bint lines_apply(const Conv* conv) noexcept nogil:
    """Whether columns are read from lines: where rows are not too long, and lines not twice the columns of a tile."""
    cdef const Window* w = &conv.window
    cdef Py_ssize_t taps = w.kernel_h * w.kernel_w, rows, columns, height, width
    cdef Py_ssize_t reach_h = w.dilation_h * (w.kernel_h - 1), reach_w = w.dilation_w * (w.kernel_w - 1)
    if (not CYCONV_PANELS or conv.pointwise or taps > PANEL_DEPTH or w.stride_h * w.stride_w > taps
            or max(w.stride_h, w.stride_w) > 8 or max(reach_h, reach_w) > FARTHEST or conv.L > INT_MAX):
        return False
    columns = conv.W_out
    if conv.H_out == 1:
        columns = min(columns, SHARED_POSITIONS)
    rows = max(1, min(conv.H_out, SHARED_POSITIONS // columns))
    height, width = (rows - 1) * w.stride_h + reach_h + 1, (columns - 1) * w.stride_w + reach_w + 1
    return columns <= LONGEST_ROW and height * width <= 2 * taps * rows * columns


cdef void use_lines(const Conv* conv, size_t itemsize, Tiling* tiling) noexcept nogil:
    """Lines instead of a matrix: whole rows in a tile, or a part of the only one, whole channels in a product."""
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w
    cdef Py_ssize_t rows = conv.H_out, lanes = lanes_of(itemsize), channels
    cdef Strip strip
    if CYCONV_PANELS and conv.pointwise and tiling.images > 1:  # the images are lines of whole planes
        tiling.taps, tiling.columns = even_part(conv.K, PANEL_DEPTH), 0
        tiling.table = round_up(tiling.taps * sizeof(Py_ssize_t), 64)
    if not lines_apply(conv):
        return
    strip = plane_strip(conv, False)
    if tiling.tiles > 1 and rows == 1:
        strip.width += strip.shared - (conv.W_out - tiling.positions)
        strip.shared = 0
    elif tiling.tiles > 1:
        rows = min(rows, even_tile(conv.L, conv.W_out, tiling.positions, lanes) // conv.W_out)
    cut_strip(&strip, rows, 4 * lanes)
    tiling.channel = apart(strip.phase * strip.stride_h * strip.stride_w)
    channels = min(PANEL_DEPTH // taps, LINE_BYTES // (tiling.images * tiling.channel * <Py_ssize_t>itemsize))
    if channels < max(1, min(conv.C, 16 // taps)):  # products so short cost more than a matrix
        return
    channels = even_part(conv.C, channels)
    tiling.strip = strip
    if conv.H_out > 1:
        tiling.positions, tiling.tiles = strip.rows * conv.W_out, strip.strips
    tiling.taps = channels * taps
    tiling.columns = tiling.images * channels * tiling.channel
    tiling.table = round_up(tiling.taps * sizeof(Py_ssize_t), 64)


cdef void lay_taps_of(const Conv* conv, const Tiling* tiling, Py_ssize_t* distance) noexcept nogil:
    """The distances of the taps of one product, or those of its planes."""
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w
    distance[0] = 0
    if not conv.pointwise:
        lay_distances(&tiling.strip, &conv.window, distance)
    spread_taps(distance, taps, tiling.taps // taps, conv.L if conv.pointwise else tiling.channel, distance)


cdef const floating* lay_lines(const Conv* conv, const Tiling* tiling, const floating* input, Py_ssize_t n0, Py_ssize_t images,
                               Py_ssize_t g, Py_ssize_t k0, Py_ssize_t k, Py_ssize_t l0, const Py_ssize_t* distance,
                               floating* lines, cyconv_columns* columns) noexcept nogil:
    """The lines of the channels of taps k0..k0+k, and how their columns are read."""
    cdef Py_ssize_t plane = conv.H_in * conv.W_in, taps = conv.window.kernel_h * conv.window.kernel_w, n, c
    input += (n0 * conv.C_in + g * conv.C + k0 // taps) * plane
    columns.distance, columns.exact = distance, conv.pointwise
    if conv.pointwise:
        columns.W = columns.L = columns.width = plane
        columns.image = conv.C_in * plane
        return input
    columns.W, columns.L = conv.W_out, conv.L
    columns.width, columns.image = tiling.strip.width, tiling.taps // taps * tiling.channel
    for n in range(images):
        for c in range(k // taps):
            lay_plane(&tiling.strip, input + (n * conv.C_in + c) * plane, l0 // conv.W_out, l0 % conv.W_out,
                      lines + n * columns.image + c * tiling.channel)
    return lines
