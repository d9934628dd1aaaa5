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
    if asked == WINOGRAD or winograd_cycles(conv, which, itemsize) < im2col_cycles(conv, itemsize):
        return WINOGRAD
    return IM2COL


# The cost model, in products of vectors (one fused multiply-add) of one core. The constants were fitted by hand to
# times of two dozen layers on one Zen 3 (AVX2, float32, one thread); only their ratios matter.

cdef double COLUMN = 2       # to make and pack one element of the columns
cdef double TRANSFORM = 480  # of a vector of tiles: pixels, gradients or outputs
cdef double WEIGHT = 76      # to transform the weights of one filter and channel
cdef double SUMS = 200       # to keep and transform the 36 sums of one filter and channel
cdef double CALL = 40        # of one product: a block of ROWS filters by three vectors of tiles
cdef double PACK = 4         # an element for a transposed product, in vectors of tiles


cdef double im2col_cycles(const Conv* conv, size_t itemsize) noexcept nogil:
    """Products of vectors, and the making of the columns."""
    cdef double columns = <double>conv.N * conv.groups * conv.L * conv.K
    return columns * (<double>round_up(conv.M, ROWS) / lanes_of(itemsize) + COLUMN)


cdef double winograd_cycles(const Conv* conv, int which, size_t itemsize) noexcept nogil:
    """Products of vectors, and the transforms: of pixels and outputs, and for every block of tiles of the weights."""
    if which == BACKWARD_WEIGHT:
        return winograd_weight_cycles(conv, itemsize)
    cdef Winograd s = winograd_sizes(conv, which == BACKWARD_INPUT, itemsize)
    cdef double M = round_up(s.M, ROWS), blocks = tile_blocks(&s)
    cdef double vectors = blocks * max(2, ceil_div(s.rows * s.columns, lanes_of(itemsize)))  # a lone one waits
    cdef double products = TILE_VALUES * vectors * M * (s.C + CALL / ROWS / 3)
    return conv.groups * (products + (s.C + s.M) * vectors * TRANSFORM + blocks * s.C * M * WEIGHT)


cdef double winograd_weight_cycles(const Conv* conv, size_t itemsize) noexcept nogil:
    """Products of vectors and the packing for them; the transforms of pixels and gradients; of the sums."""
    cdef WinogradWeight s = winograd_weight_sizes(conv, itemsize)
    cdef double M = round_up(conv.M, ROWS), C = round_up(conv.C, lanes_of(itemsize))
    cdef double vectors = tile_blocks(&s.tiles) * ceil_div(s.tiles.rows * s.tiles.columns, lanes_of(itemsize))
    # every block of filters takes the pixels again, every block of channels the gradients
    cdef double planes = <double>ceil_div(conv.M, s.filters) * conv.C + <double>ceil_div(conv.C, s.channels) * conv.M
    return conv.groups * (TILE_VALUES * vectors * (M * C + planes * PACK) + planes * vectors * TRANSFORM + M * C * SUMS)


cdef double tile_blocks(const Winograd* s) noexcept nogil:
    return <double>ceil_div(s.N * s.tile_rows, s.rows) * ceil_div(s.tile_columns, s.columns)
