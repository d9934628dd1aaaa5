# Which algorithm computes a convolution: the only place that chooses.

cdef enum:  # algorithms; the first is a wish alone
    AUTO
    IM2COL
    WINOGRAD
    DEPTHWISE

cdef enum:  # passes
    FORWARD
    BACKWARD_INPUT
    BACKWARD_WEIGHT


cdef int c_algorithm(algorithm):
    """The caller's word, "auto", "im2col" or "winograd", as a number."""
    return AUTO if algorithm == "auto" else WINOGRAD if algorithm == "winograd" else IM2COL


cdef int choose(const Conv* conv, int asked, int which, size_t itemsize) noexcept nogil:
    """The algorithm of one pass, where the caller asked for AUTO, IM2COL or WINOGRAD."""
    if asked == IM2COL:
        return IM2COL
    if asked == AUTO and depthwise_applies(conv):
        return DEPTHWISE
    if not winograd_applies(conv):
        return IM2COL
    if asked == WINOGRAD or filtering_cycles(conv, which, itemsize) < im2col_cycles(conv, itemsize):
        return WINOGRAD
    return IM2COL


# The cost model: cycles of one core, counting a product of vectors as one. The constants were fitted to
# profiles of a few single layers on one Zen 4, by hand; only their ratios matter.

cdef double im2col_cycles(const Conv* conv, size_t itemsize) noexcept nogil:
    """Products of vectors, and the making of the columns."""
    cdef double columns = <double>conv.N * conv.groups * conv.L * conv.K
    return columns * (<double>round_up(conv.M, ROWS) / lanes_of(itemsize) * 1.1 + 0.4)


cdef double filtering_cycles(const Conv* conv, int which, size_t itemsize) noexcept nogil:
    if which == BACKWARD_WEIGHT:
        return winograd_weight_cycles(conv, itemsize)
    return winograd_cycles(conv, which, itemsize)


cdef double winograd_weight_cycles(const Conv* conv, size_t itemsize) noexcept nogil:
    """Products of vectors and the packing for them; the transforms of pixels and gradients; of the sums."""
    cdef WinogradWeight s = winograd_weight_sizes(conv, itemsize)
    cdef Py_ssize_t lanes = lanes_of(itemsize)
    cdef double rows = <double>s.tiles.N * s.tiles.tile_rows
    cdef double tiles = rows * s.tiles.tile_columns
    cdef double M = round_up(conv.M, ROWS), C = round_up(conv.C, lanes)
    cdef double pixel_passes = ceil_div(conv.M, s.filters), gradient_passes = ceil_div(conv.C, s.channels)
    cdef double products = TILE_VALUES * tiles * (M * C * 1.1 + (M * gradient_passes + C * pixel_passes) * 4) / lanes
    cdef double planes = pixel_passes * conv.C + gradient_passes * conv.M
    cdef double transforms = planes * rows * (300 + 500 * ceil_div(s.tiles.tile_columns, lanes))
    return conv.groups * (products + transforms + M * C * 60)


cdef double winograd_cycles(const Conv* conv, int which, size_t itemsize) noexcept nogil:
    """Products of vectors; the transforms of pixels and outputs by rows of tiles; of the weights."""
    cdef Winograd s = winograd_sizes(conv, which == BACKWARD_INPUT, itemsize)
    cdef Py_ssize_t lanes = lanes_of(itemsize)
    cdef double rows = <double>s.N * s.tile_rows
    cdef double vectors = ceil_div(s.tile_columns, lanes)
    cdef double blocks = ceil_div(s.N * s.tile_rows, s.rows) * ceil_div(s.tile_columns, s.columns)
    cdef double products = TILE_VALUES * s.C * round_up(s.M, ROWS) * blocks * round_up(s.rows * s.columns, lanes) / lanes
    cdef double pixels = s.C * rows * (300 + 500 * vectors)
    cdef double outputs = s.M * rows * 550 * vectors
    cdef double weights = blocks * s.C * round_up(s.M, ROWS) * 35
    return conv.groups * (products * 1.1 + pixels + outputs + weights)
