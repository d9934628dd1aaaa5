# Which algorithm computes a convolution: the only place that chooses.

cdef enum:  # algorithms; the first two are wishes alone
    AUTO
    PRODUCTS   # of columns, made or not
    IM2COL
    IMPLICIT
    WINOGRAD
    DEPTHWISE
    DIRECT
    DENSE

cdef enum:  # passes
    FORWARD
    BACKWARD_INPUT
    BACKWARD_WEIGHT


cdef int c_algorithm(algorithm):
    """The caller's word as a number: "auto", "im2col", "winograd"; tests say "columns", "implicit" and "direct" too."""
    if algorithm == "auto":
        return AUTO
    if algorithm == "winograd":
        return WINOGRAD
    if algorithm == "direct":
        return DIRECT
    return PRODUCTS if algorithm == "im2col" else IMPLICIT if algorithm == "implicit" else IM2COL


cdef int choose(const Conv* conv, int asked, int which, size_t itemsize) noexcept nogil:
    """The algorithm of one pass, where the caller asked for `asked`: the least of the cost model."""
    cdef bint planes = asked == AUTO and depthwise_applies(conv, which, itemsize)
    cdef double least, cycles
    cdef int best
    if asked in (AUTO, PRODUCTS) and dense_applies(conv):  # no other costs less
        return DENSE
    if planes and conv.M == 1 and conv.K <= COMMON_TAPS:  # no other costs less
        return DEPTHWISE
    if asked == WINOGRAD and winograd_applies(conv):
        return WINOGRAD
    if asked == IMPLICIT and implicit_applies(conv, which, itemsize):
        return IMPLICIT
    if asked == DIRECT and direct_applies(conv, which, itemsize):
        return DIRECT
    least, best = im2col_cycles(conv, which, itemsize), IM2COL
    if asked != IM2COL and implicit_applies(conv, which, itemsize):
        cycles = implicit_cycles(conv, which, itemsize)
        if cycles < least:
            least, best = cycles, IMPLICIT
    if asked in (AUTO, PRODUCTS) and direct_pays(conv, which, itemsize):
        cycles = direct_cycles(conv, which, itemsize)
        if cycles < least:
            least, best = cycles, DIRECT
    if asked == AUTO and winograd_pays(conv):
        cycles = winograd_cycles(conv, which, itemsize)
        if cycles < least and winograd_fits(conv, which, itemsize):
            least, best = cycles, WINOGRAD
    if planes and depthwise_cycles(conv, which, itemsize) < least:
        return DEPTHWISE
    return best


# Multiply-adds from which on Winograd's filtering and direct convolution are thought of: fewer are done before their steps have
# begun and ended.
cdef double LARGE_WORK = 1 << 19

cdef Py_ssize_t COMMON_TAPS = 256  # of a depthwise filter; of larger ones most may meet zeros alone


cdef inline bint direct_pays(const Conv* conv, int which, size_t itemsize) noexcept nogil:
    return multiply_adds(conv) >= LARGE_WORK and direct_applies(conv, which, itemsize)


cdef inline bint winograd_pays(const Conv* conv) noexcept nogil:
    return multiply_adds(conv) >= LARGE_WORK and winograd_applies(conv)


# The cost model, in products of vectors (one fused multiply-add) of one core. The constants were fitted by hand to times
# of float32 layers with one thread: on a Zen 3 (AVX2), later on an Emerald Rapids (AVX-512). There the 340 layers
# of the benchmarks and of other networks lose 0.7 % of their time to a wrong choice forward, 0.9 % wrt the input, 0.5 % wrt the
# weight; with two threads 1.0, 1.5 and 1.0 %. Only ratios matter.

cdef double COLUMN = 2       # to make and pack one element of the columns,
cdef double PANEL = 16       # or to pack a vector of them from lines; twice that with a stride
cdef double PHASES = 1.1     # what products take more whose columns are read from the phases of a stride
cdef double STREAMED = 0.7   # to read one weight from memory, or to write its gradient; twice that where it is transposed
cdef double GRADIENT = 0.25  # to read one gradient for the products with columns
cdef double GATHERED = 1     # to copy a gradient, or a pixel, to those of other images
cdef double ADD = 4          # to keep one element of the columns of a gradient, and add it to its pixel
cdef double LINE = 0.5       # to lay one element of a line, without a stride
cdef double FACTOR = 0.5     # to pack one weight
cdef double DOT = 1.3        # a product of two lines
cdef double CLOSE = 6        # to add up a vector of sums
cdef double OUTPUT = 4       # to store one vector of outputs
cdef double LINE_OUTPUT = 6  # the same from a line to its row
cdef double APART = 60       # the same, element by element
cdef double PIXELS = 600     # to lay and transform a tile of a vector of channels, or of gradients
cdef double OUTPUTS = 250    # to transform and store a tile of a vector of filters
cdef double WEIGHTS = 350    # to transform the 3x3 weights of a vector of filters and one channel; twice that wrt the input
cdef double SHORT = 6        # to begin and to end a sum of such products
cdef double SUMS = 800       # to keep and transform the 36 sums of one filter and a vector of channels
cdef double SUM_BLOCK = 300  # to read and write them, for each block of tiles
cdef double STRIDED = 1.2    # what a stride's phases take more: strips of their own, short sums
cdef double STRIDED_SUMS = 1.3  # the same wrt the weight
cdef double FAR = 1.5        # and forward and wrt the input, where their values come from the L3 cache;
cdef double WIDE = 1.15      # so many times that, where rows have at least
cdef Py_ssize_t WIDE_ROW = 256  # pixels
cdef double ROW = 9          # of direct convolution: to lay a row of a line, beside its elements,
cdef double PACKED = 1.5     # to pack a weight; four times that wrt the input, from weights of other filters between them
cdef double TRANSPOSED = 34  # to transpose a vector of outputs, and to store it;
cdef double SHARED = 0.9     # and wrt the weight: a product, whose pixels a tile's taps share,
cdef double KEPT = 50        # to read and write a vector of sums, for each tile,
cdef double ADDED = 12       # to transpose one, and add it up, for each part of the tiles
cdef double LONE = 1.3       # a product of one vector of filters
cdef double[3] ALONE = [1.8, 2, 2.8]  # a product of depthwise convolution, whose loads no other filter shares, of each pass


cdef inline Py_ssize_t rows_taken(Py_ssize_t rows) noexcept nogil:
    # By the micro-kernel, for so many: blocks of ROWS, and half of one.
    return round_up(rows, (ROWS + 1) // 2)


cdef double im2col_cycles(const Conv* conv, int which, size_t itemsize) noexcept nogil:
    """Products of vectors, of positions or (wrt the weight) of taps, the making of the columns, the storing of outputs."""
    cdef Py_ssize_t lanes = lanes_of(itemsize)
    cdef double positions = <double>conv.N * conv.groups * conv.L, column = COLUMN
    cdef double taps = conv.K, weights = <double>conv.C_out * conv.K, gradient = GRADIENT
    cdef Py_ssize_t filters = conv.M
    cdef Tiling tiling
    if which == BACKWARD_WEIGHT:
        tiling = tile_backward_weight(conv, itemsize)
        column *= 0.5 if conv.pointwise else 1 if conv.window.stride_w == 1 else 1.25
        if tiling.gathered:  # gradients for each block of taps
            gradient += GATHERED * tiling.blocks
            column += GATHERED if conv.pointwise else 0
        return weights * STREAMED + positions * (<double>rows_taken(conv.M) * ceil_div(conv.K, lanes) + conv.K * column
                                                 + conv.M * gradient)
    if which == BACKWARD_INPUT and conv.pointwise:  # forward with weight^T
        taps, filters = conv.M, conv.K
    cdef double products = <double>rows_taken(filters) / lanes
    if which == BACKWARD_INPUT and not conv.pointwise:
        return 2 * weights * STREAMED + positions * taps * (products + ADD)
    if conv.pointwise or lines_apply(conv):  # whole vectors of columns, or read in place
        column = PANEL / lanes if conv.window.stride_w == 1 else 2 * PANEL / lanes
    if conv.window.stride_w > 1:
        products *= PHASES
    return weights * STREAMED + positions * (taps * (products + column) + products * OUTPUT)


cdef double implicit_cycles(const Conv* conv, int which, size_t itemsize) noexcept nogil:
    """Products of vectors, also of the positions between rows; the laying of lines; the packing of both factors."""
    if which == BACKWARD_WEIGHT:
        return implicit_weight_cycles(conv, itemsize)
    cdef bint backward = which == BACKWARD_INPUT
    cdef Implicit s = implicit_sizes(conv, backward, itemsize)
    cdef const Strip* strip = &s.strip
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w, phases = strip.phases_h * strip.phases_w
    cdef double strips = <double>conv.N * conv.groups * strip.strips
    cdef double M = s.blocks * rows_taken(s.filters), vectors = <double>strip.rows * strip.width / lanes_of(itemsize)
    return strips * (s.C * taps * (vectors * (M + 2 * s.blocks) + M * (8 * FACTOR if backward else FACTOR))
                     + s.blocks * phases * s.C * s.channel * line_element(strip)
                     + vectors * phases * M * (LINE_OUTPUT if strip.phases_w == 1 else APART))


cdef inline double line_element(const Strip* s) noexcept nogil:
    # To lay one: strided pixels are picked by shuffles, or one by one.
    return LINE if s.stride_w == 1 else 2 * LINE if s.stride_w == 2 else 6 * LINE


cdef double implicit_weight_cycles(const Conv* conv, size_t itemsize) noexcept nogil:
    """Products of vectors, and the closing of their sums; the laying of pixels and, for every block of channels, gradients."""
    cdef ImplicitWeight s = implicit_weight_sizes(conv, itemsize)
    cdef double strips = <double>conv.N * conv.groups * s.strip.strips, M = rows_taken(conv.M)
    return strips * (M * conv.K * (DOT * s.positions / lanes_of(itemsize) + CLOSE)
                     + conv.C * s.channel * line_element(&s.strip) + s.blocks * M * s.positions * LINE)


cdef double direct_cycles(const Conv* conv, int which, size_t itemsize) noexcept nogil:
    """Products of vectors of filters; the laying of lines, the packing of weights, the transposing of outputs."""
    if which == BACKWARD_WEIGHT:
        return direct_weight_cycles(conv, itemsize)
    cdef bint backward = which == BACKWARD_INPUT
    cdef Direct s = direct_sizes(conv, backward, itemsize)
    cdef const Strip* strip = &s.strip
    cdef double positions = <double>conv.N * conv.groups * ceil_div(s.H, strip.phases_h) * ceil_div(s.W, strip.phases_w)
    cdef double taps = conv.window.kernel_h * conv.window.kernel_w, tiles = direct_tiles(conv, &s)
    cdef double stored = ceil_div(s.C, s.channels) * strip.phases_h * strip.phases_w * (TRANSPOSED if strip.phases_w < 3 else APART)
    return (positions * s.vectors * (s.C * taps * inside_of(&s) + stored) + tiles * s.images * s.C * laid_lines(&s)
            + s.vectors * lanes_of(itemsize) * s.C * taps * (conv.groups if s.packed else tiles) * (4 * PACKED if backward else PACKED))


cdef inline double inside_of(const Direct* s) noexcept nogil:
    # The part of all products that are made.
    return share_inside(&s.axis_h) * share_inside(&s.axis_w) if s.cut else 1


cdef inline double laid_lines(const Direct* s) noexcept nogil:
    # To lay those of a channel of a tile: elements, and rows.
    return 0 if s.in_place else s.strip.lines * (2 * LINE * s.strip.width + ROW)


cdef double direct_weight_cycles(const Conv* conv, size_t itemsize) noexcept nogil:
    """Products of vectors of filters and pixels; the laying of lines, the transposing of gradients, the keeping of sums."""
    cdef DirectWeight s = direct_weight_sizes(conv, itemsize)
    cdef const Direct* t = &s.tiling
    cdef double tiles = <double>s.tiles * conv.groups, taps = conv.window.kernel_h * conv.window.kernel_w
    cdef double inside = inside_of(t)
    cdef double rows = inside * s.blocks * round_up(<Py_ssize_t>(s.channels * taps), GROUP // min(t.vectors, PANEL_VECTORS) // 2)
    return (<double>conv.N * conv.groups * conv.L * t.vectors * (rows * SHARED + lanes_of(itemsize) * s.blocks)
            + tiles * t.blocks * t.images * conv.C * laid_lines(t)
            + conv.K * t.vectors * (inside * tiles * KEPT + conv.groups * s.splits * ADDED))


cdef double depthwise_cycles(const Conv* conv, int step, size_t itemsize) noexcept nogil:
    """Products of vectors along each strip, also of the positions between rows, and the laying of its rows."""
    cdef Strip s = strip_sizes(conv, step, itemsize)
    cdef double sums = <double>s.rows * s.width * conv.K / lanes_of(itemsize)
    sums += s.phase * s.stride_h * s.stride_w * LINE
    return <double>conv.N * conv.C_out * s.strips * sums * ALONE[step]


cdef double winograd_cycles(const Conv* conv, int which, size_t itemsize) noexcept nogil:
    """Products of vectors, and the transforms: of pixels and outputs, and of weights, for every block of tiles or once."""
    if which == BACKWARD_WEIGHT:
        return winograd_weight_cycles(conv, itemsize)
    cdef Winograd s = winograd_sizes(conv, which == BACKWARD_INPUT, itemsize)
    cdef Py_ssize_t lanes = lanes_of(itemsize)
    cdef double tiles = <double>s.N * s.tile_rows * s.tile_columns, M = ceil_div(s.M, lanes), C = ceil_div(s.C, lanes)
    cdef double products = 0, blocks = tile_blocks(&s), part = s.planes / 36.0, parts
    cdef double weights = M if s.M % lanes == 0 else M + 2  # fewer than a vector are packed one by one
    cdef int phase, v, r = s.kernel.r
    cdef Runs run
    for phase in range(s.phases_out):
        for v in range(s.planes):
            run = runs(&s, phase, v)
            products += run.count * (run.length + SHORT)
    if s.by_tiles:
        C, parts = C * s.parts, 1
    else:
        parts = blocks * parts_of(&s, s.rows * s.columns)
    # pixels that are not neighbours are picked, such outputs placed, one by one
    C *= laying(s.C // s.phases, s.dilation_w * (1 if s.flipped else s.kernel.stride_w) // s.unit_w, lanes)
    products *= LONE if s.width == lanes else 1
    cdef double longer = strided(conv, (STRIDED if s.by_tiles else FAR) * (WIDE if conv.W_in >= WIDE_ROW else 1))
    return longer * conv.groups * ((tiles + blocks * ROWS / 2) * M * products
                          + tiles * part * (C * PIXELS + M * s.phases_out * placing(s.made.stride_w) * OUTPUTS)
                          + parts * s.phases_out * s.C * weights * WEIGHTS * (2 if s.flipped else 1) * part * (r * (r + 6) / 27.0))


cdef double winograd_weight_cycles(const Conv* conv, size_t itemsize) noexcept nogil:
    """Products of vectors; the transforms of pixels and gradients; of the sums."""
    cdef WinogradWeight s = winograd_weight_sizes(conv, itemsize)
    cdef Py_ssize_t lanes = lanes_of(itemsize)
    cdef double tiles = <double>s.tiles.N * s.tiles.tile_rows * s.tiles.tile_columns, blocks = tile_blocks(&s.tiles)
    cdef double M = rows_taken(conv.M), C = ceil_div(s.tiles.C, lanes), part = s.tiles.planes / 36.0
    # every block of filters takes the pixels again, every block of channels the gradients
    cdef double pixels = ceil_div(conv.M, s.filters) * C, gradients = ceil_div(s.tiles.C, s.channels) * ceil_div(conv.M, lanes)
    pixels *= laying(s.tiles.C // s.tiles.phases, conv.window.stride_w * s.tiles.dilation_w, lanes)
    gradients *= laying(conv.M, s.tiles.dilation_w, lanes)
    return strided(conv, STRIDED_SUMS) * conv.groups * (tiles * s.tiles.planes * M * C + tiles * part * (pixels + gradients) * PIXELS
                          + M * C * part * (SUMS + blocks * SUM_BLOCK))


cdef inline double strided(const Conv* conv, double longer) noexcept nogil:
    return 1 if max(conv.window.stride_h, conv.window.stride_w) == 1 else longer


cdef inline double laying(Py_ssize_t channels, Py_ssize_t step, Py_ssize_t lanes) noexcept nogil:
    # How much longer a tile takes whose pixels are `step` apart (from 16 on each in a line of memory), or whose channels are no
    # vector.
    if step >= 16:
        return 16
    if channels < lanes:
        return 4 if step == 1 else 2  # phases of a stride are channels too
    return 4 if step > 2 else step


cdef inline double placing(Py_ssize_t step) noexcept nogil:
    # The same of a tile's outputs.
    return 16 if step >= 16 else 5 if step > 2 else 2 if step > 1 else 1


cdef double tile_blocks(const Winograd* s) noexcept nogil:
    return <double>ceil_div(s.N * s.tile_rows, s.rows) * ceil_div(s.tile_columns, s.columns)
