# Columns of im2col that are never a matrix: for some channels at a time the rows of pixels under a tile are laid as lines, padded
# with zeros, by the phases of the stride (strips.pyx); every tap of the kernel is then a distance along them, and
# the panels of gemm are copied from there. A tile is some rows of outputs of one image, or several images.

cdef Py_ssize_t LONGEST_ROW = 512     # of outputs: a tile has one at least
cdef Py_ssize_t LINE_BYTES = 1 << 19  # of the lines of one product: with its panels they stay in the L2 cache


cdef bint lines_apply(const Conv* conv) noexcept nogil:
    """Whether columns are read from lines: where rows are not too long, and most pixels are under some tap."""
    cdef const Window* w = &conv.window
    cdef Py_ssize_t taps = w.kernel_h * w.kernel_w
    return (CYCONV_PANELS and not conv.direct and w.stride_h * w.stride_w <= taps <= PANEL_DEPTH and conv.W_out <= LONGEST_ROW
            and max(w.stride_h, w.stride_w) <= 8 and conv.L <= INT_MAX)


cdef void use_lines(const Conv* conv, size_t itemsize, Tiling* tiling) noexcept nogil:
    """Lines instead of a matrix: whole rows in a tile, whole channels in a product."""
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w
    cdef Py_ssize_t rows = max(1, (tiling.positions + conv.W_out // 2) // conv.W_out), channels
    cdef Strip strip
    if not lines_apply(conv):
        return
    strip = plane_strip(conv, False)
    if tiling.tiles > 1:
        rows = rows_of_positions(conv, rows, lanes_of(itemsize))
    cut_strip(&strip, rows, 4 * lanes_of(itemsize))
    tiling.channel = apart(strip.phase * strip.stride_h * strip.stride_w)
    channels = min(PANEL_DEPTH // taps, LINE_BYTES // (tiling.images * tiling.channel * <Py_ssize_t>itemsize))
    if channels < min(conv.C, 16 // taps):  # products so short cost more than a matrix
        return
    channels = even_part(conv.C, max(1, channels))
    tiling.strip = strip
    tiling.positions, tiling.tiles = strip.rows * conv.W_out, strip.strips
    tiling.taps = channels * taps
    tiling.columns = tiling.images * channels * tiling.channel
    tiling.table = round_up(tiling.taps * sizeof(Py_ssize_t), 64)


cdef Py_ssize_t rows_of_positions(const Conv* conv, Py_ssize_t wanted, Py_ssize_t lanes) noexcept nogil:
    """About `wanted` rows, whose positions take the least time in products."""
    cdef Py_ssize_t best = min(wanted, conv.H_out), least = PY_SSIZE_T_MAX, r, cost
    for r in range(max(1, wanted * 3 // 4), min(conv.H_out, 2 * wanted) + 1):
        if r > best and r * conv.W_out > GEMM_PANELS * 3 * lanes:
            break
        cost = conv.H_out // r * product_time(r * conv.W_out, lanes) + product_time(conv.H_out % r * conv.W_out, lanes)
        if cost < least:
            best, least = r, cost
    return best


cdef inline Py_ssize_t product_time(Py_ssize_t positions, Py_ssize_t lanes) noexcept nogil:
    # In quarters of a vector: three vectors share a load, one or two take a quarter longer.
    cdef Py_ssize_t vectors = ceil_div(positions % (3 * lanes), lanes)
    return positions // (3 * lanes) * 12 + min(12, 5 * vectors)


cdef void lay_taps_of(const Conv* conv, const Tiling* tiling, Py_ssize_t* distance) noexcept nogil:
    """The distances of the taps of one product."""
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w, t
    lay_distances(&tiling.strip, &conv.window, distance)
    for t in range(taps, tiling.taps):
        distance[t] = distance[t - taps] + tiling.channel


cdef cyconv_columns lay_lines(const Conv* conv, const Tiling* tiling, const floating* input, Py_ssize_t n0, Py_ssize_t images,
                              Py_ssize_t g, Py_ssize_t k0, Py_ssize_t k, Py_ssize_t l0, const Py_ssize_t* distance,
                              floating* lines) noexcept nogil:
    """The lines of the channels of taps k0..k0+k, and how their columns are read."""
    cdef Py_ssize_t plane = conv.H_in * conv.W_in, taps = conv.window.kernel_h * conv.window.kernel_w, n, c
    cdef cyconv_columns columns
    columns.distance = distance
    columns.W, columns.L = conv.W_out, conv.L
    columns.width, columns.image = tiling.strip.width, tiling.taps // taps * tiling.channel
    input += (n0 * conv.C_in + g * conv.C + k0 // taps) * plane
    for n in range(images):
        for c in range(k // taps):
            lay_plane(&tiling.strip, input + (n * conv.C_in + c) * plane, l0 // conv.W_out,
                      lines + n * columns.image + c * tiling.channel)
    return columns
