# Sizes of Winograd's convolutions: phases, tiles, blocks, workspace.

cdef Py_ssize_t TABLE_BYTES = 4 << 20  # transformed weights of all filters, where tasks are blocks of tiles,
cdef Py_ssize_t OWN_BYTES = 1 << 20    # and the transformed pixels of one
cdef Py_ssize_t LEAST_TILES = 96       # that are worth it: fewer have tasks enough by filters alone
cdef Py_ssize_t PIXEL_BYTES = 19 << 18 # pixels of one block of tiles, where tasks are panels of filters
cdef Py_ssize_t GROUP_BYTES = WINOGRAD_GROUP_BYTES  # transformed weights of one panel of filters
cdef Py_ssize_t CHAIN = 64             # products added one after another: shorter sums round less
cdef Py_ssize_t MOST_COLUMNS = 512     # tiles side by side in one block
cdef Py_ssize_t MOST_TILES = 480       # in one block, where tasks are panels of filters
cdef Py_ssize_t SPAN = 64              # tiles of one product: whole rows of them, where these are short
cdef Py_ssize_t PRODUCT_TILES = 48     # whose sums are made at once: a multiple of GROUP
cdef Py_ssize_t MOST_STRIDE = 4        # phases of more are too few pixels
cdef Py_ssize_t WINOGRAD_TASKS = 8     # at least, of all tiles; by filters of each block
cdef Py_ssize_t LEAST_RUN = 32         # channels of a phase that are worth leaving out of a product
cdef Py_ssize_t MOST_TAPS = 16         # along one axis


cdef struct Winograd:
    # One convolution (of one group) as the transforms see it.
    Py_ssize_t N, C, H, W                # images in; N counts each part of an image, C each phase of a channel
    Py_ssize_t read_h, read_w            # rows and columns of these that some window, or of outputs some pixel, reads
    Py_ssize_t reach_h, reach_w          # rows and columns of conv's outputs whose windows reach the image
    Py_ssize_t dilation_h, dilation_w
    Py_ssize_t parts_h, parts_w          # of an image that a dilation divides: as many as it is, or as outputs
    Py_ssize_t M, H_out, W_out           # outputs that tiles cover, of one part and one phase
    cyconv_made made                     # planes out
    Py_ssize_t image_stride, output_stride  # elements from one image to the next
    Py_ssize_t pad_top, pad_left
    cyconv_kernel kernel
    int phases, phases_out               # of each channel that is read, and that is made
    int planes                           # of the values of tiles: 36, or 6 along one axis
    int m_h, m_w                         # outputs of a tile, along a side: m + kernel.r = 7, or 1
    int edge_h                           # rows that it reads below them
    int unit_h, unit_w                   # pixels of a strip, which holds all phases, from one of a phase to the next; or 1
    Py_ssize_t weight_out, weight_in     # elements between filters, and between channels
    bint flipped
    Py_ssize_t tile_rows, tile_columns   # of one image
    Py_ssize_t rows, columns             # of a block: rows of tiles of any images, columns
    Py_ssize_t length                    # elements of a tile's values of one kind: its channels
    Py_ssize_t width, panels             # filters of one panel, in whole vectors; how many panels
    Py_ssize_t span                      # tiles of one product
    Py_ssize_t groups, batch             # of the convolution; and those whose weights are transformed together
    Py_ssize_t image_group, weight_group # elements from one's first to the next's
    bint by_tiles                        # a task is a block of tiles; or a panel of filters
    Py_ssize_t parts                     # of the panels, each a task, for a block of tiles
    size_t pixels, weights, scratch      # elements of the pixels of a block; of the weights of a panel; of what else a thread
                                         # needs: strips, products, or weights to be transformed
    size_t shared, own                   # bytes of workspace: for all threads together, and for each


cdef struct Runs:
    # The channels that have a weight of one value: `count` times `length` of them, `step` apart.
    Py_ssize_t count, length, step


cdef inline Py_ssize_t apart(Py_ssize_t size) noexcept nogil:
    # Distance between the planes of the values, of `size`: off the powers of two, at which they would share cache lines.
    return round_up(size, 16) + 16


cdef bint winograd_applies(const Conv* conv) noexcept nogil:
    cdef const Window* w = &conv.window
    cdef Py_ssize_t taps = ceil_div(w.kernel_h, w.stride_h)
    return ((taps == ceil_div(w.kernel_w, w.stride_w) and 2 <= taps <= 5 or along_one_axis(w))
            and max(w.stride_h, w.stride_w) <= MOST_STRIDE
            and min(w.stride_h, w.dilation_h) == 1 and min(w.stride_w, w.dilation_w) == 1
            and w.pad_top <= w.dilation_h * (w.kernel_h - 1) and w.pad_left <= w.dilation_w * (w.kernel_w - 1))


cdef inline bint along_one_axis(const Window* w) noexcept nogil:
    return (min(w.kernel_h, w.kernel_w) == 1 and 2 <= max(w.kernel_h, w.kernel_w) <= MOST_TAPS
            and max(w.stride_h, w.stride_w) == 1)


cdef int axis_taps(int taps) noexcept nogil:
    """The r whose parts of a kernel take the fewest products for an output; the last value of a short part is 0."""
    cdef int r, best = 2
    for r in range(3, 5):
        if axis_products(taps, r) < axis_products(taps, best):
            best = r
    return best


cdef inline double axis_products(int taps, int r) noexcept nogil:
    return (6.0 * ceil_div(taps, r) - (taps % r != 0)) / (7 - r)


cdef void block_of_tiles(Winograd* s, Py_ssize_t most, Py_ssize_t tasks) noexcept nogil:
    """Rows and columns of a block of at most about `most` tiles, whole rows of tiles or a part of one; or fewer, where
    blocks are tasks and so many `tasks` are wanted."""
    cdef Py_ssize_t tiles = s.N * s.tile_rows * s.tile_columns
    if tasks:
        most = min(most, max(4 * ROWS, ceil_div(tiles, tasks)))
    most = max(ROWS, most)
    s.rows, s.columns = 1, min(s.tile_columns, most, MOST_COLUMNS)
    if s.columns < s.tile_columns:  # equal parts
        s.columns = min(s.columns, round_up(even_part(s.tile_columns, s.columns), ROWS))
    else:
        s.rows = rows_of_tiles(s.N * s.tile_rows, s.columns, most, tasks > 0)


cdef Py_ssize_t rows_of_tiles(Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t most, bint task) noexcept nogil:
    """The rows of a block, of all `rows`, that fill the micro-kernel's rows best; of tasks one is waited for in the end."""
    cdef Py_ssize_t best = max(1, min(rows, most // columns)), least = PY_SSIZE_T_MAX, r, panels
    for r in range(best, max(best // 2, best - 64), -1):
        panels = rows // r * ceil_div(r * columns, ROWS) + ceil_div(rows % r * columns, ROWS)
        if task:
            panels += ceil_div(r * columns, ROWS)
        if panels < least or panels == least and ceil_div(rows, r) == ceil_div(rows, best):
            best, least = r, panels
    return best


cdef inline Py_ssize_t strip_length(const Winograd* s, Py_ssize_t columns) noexcept nogil:
    # Pixels of one row of the strip: tiles are m apart, and 6 wide, or 1.
    return (s.m_w * columns + (6 - s.m_w if s.kernel.wide else 0)) * s.unit_w


cdef inline Py_ssize_t strip_size(const Winograd* s) noexcept nogil:
    # The rows of the images in a block, each with those that its last tiles reach into; in whole vectors.
    return apart((s.rows * s.m_h + ceil_div(s.rows + s.tile_rows, s.tile_rows) * s.edge_h) * s.unit_h
                 * strip_length(s, s.columns))


cdef inline Py_ssize_t strips_size(const Winograd* s, Py_ssize_t lanes) noexcept nogil:
    # Of a vector of channels: interleaved, with a vector of pixels behind them; and one by one, but for whole vectors whose
    # phases share a strip.
    return lanes * ((1 if s.unit_h * s.unit_w > 1 and s.dilation_w == 1 else 2) * strip_size(s) + lanes)


cdef inline size_t table_bytes(const Winograd* s) noexcept nogil:
    # Of the table of a block's tiles.
    return round_up(s.rows * s.columns * sizeof(cyconv_tile), 64)


cdef inline Py_ssize_t value_length(Py_ssize_t channels, Py_ssize_t lanes, size_t itemsize) noexcept nogil:
    # Whole vectors; rows some KiB apart would share cache lines.
    channels = round_up(channels, lanes)
    return channels + lanes if channels * itemsize % 1024 == 0 else channels


cdef Winograd winograd_sizes(const Conv* conv, bint backward, Py_ssize_t itemsize) noexcept nogil:
    cdef Winograd s
    cdef const Window* w = &conv.window
    cdef Py_ssize_t taps = w.kernel_h * w.kernel_w, lanes = lanes_of(itemsize), table, most
    memset(&s, 0, sizeof(Winograd))
    s.dilation_h = w.dilation_h if w.kernel_h > 1 else 1
    s.dilation_w = w.dilation_w if w.kernel_w > 1 else 1
    s.kernel.height, s.kernel.width = <int>w.kernel_h, <int>w.kernel_w
    s.kernel.stride_h, s.kernel.stride_w = <int>w.stride_h, <int>w.stride_w
    s.kernel.high, s.kernel.wide = w.kernel_h > 1, w.kernel_w > 1
    s.planes = 36 if s.kernel.high and s.kernel.wide else 6
    s.phases = s.phases_out = 1
    if s.planes == 36:
        s.kernel.r = <int>ceil_div(s.kernel.height, s.kernel.stride_h)
    else:
        s.kernel.r = axis_taps(<int>taps)
        s.phases = <int>ceil_div(taps, s.kernel.r)
    s.m_h = 7 - s.kernel.r if s.kernel.high else 1
    s.m_w = 7 - s.kernel.r if s.kernel.wide else 1
    s.edge_h = s.kernel.r - 1 if s.kernel.high else 0
    s.unit_h = s.unit_w = 1
    s.reach_h = min(conv.H_out, ceil_div(conv.H_in + w.pad_top, w.stride_h))
    s.reach_w = min(conv.W_out, ceil_div(conv.W_in + w.pad_left, w.stride_w))
    if backward:
        s.phases_out = s.kernel.stride_h * s.kernel.stride_w
        s.C, s.H, s.W, s.M = conv.M * s.phases, conv.H_out, conv.W_out, conv.C
        s.read_h, s.read_w = s.reach_h, s.reach_w
        s.made.H, s.made.W = conv.H_in, conv.W_in
        # the first output of a tile is pixel[q*s + a - pad] of q = pad // s, for each phase a
        s.made.top, s.made.left = -(w.pad_top % w.stride_h), -(w.pad_left % w.stride_w)
        s.pad_top = w.dilation_h * (ceil_div(w.kernel_h, w.stride_h) - 1) - w.pad_top // w.stride_h
        s.pad_left = w.dilation_w * (ceil_div(w.kernel_w, w.stride_w) - 1) - w.pad_left // w.stride_w
        s.image_stride, s.output_stride = conv.C_out * conv.L, conv.C_in * conv.H_in * conv.W_in
        s.weight_out, s.weight_in, s.flipped = taps, conv.C * taps, True
    else:
        s.phases *= s.kernel.stride_h * s.kernel.stride_w
        if conv.C % lanes == 0:  # a vector of channels is laid once for all phases
            s.unit_h, s.unit_w = s.kernel.stride_h, s.kernel.stride_w
        s.C, s.H, s.W, s.M = conv.C * s.phases, conv.H_in, conv.W_in, conv.M
        # not what a stride leaves at the bottom and at the right: it would round what it has no part in
        s.read_h = min(s.H, (conv.H_out - 1) * w.stride_h + w.dilation_h * (w.kernel_h - 1) + 1 - w.pad_top)
        s.read_w = min(s.W, (conv.W_out - 1) * w.stride_w + w.dilation_w * (w.kernel_w - 1) + 1 - w.pad_left)
        s.made.H, s.made.W = conv.H_out, conv.W_out
        s.pad_top, s.pad_left = w.pad_top, w.pad_left
        s.image_stride, s.output_stride = conv.C_in * conv.H_in * conv.W_in, conv.C_out * conv.L
        s.weight_out, s.weight_in = conv.C * taps, taps
    s.groups, s.weight_group, s.image_group = conv.groups, conv.M * conv.K, s.C // s.phases * s.H * s.W
    s.made.stride_h = s.dilation_h * (w.stride_h if backward else 1)
    s.made.stride_w = s.dilation_w * (w.stride_w if backward else 1)
    s.parts_h, s.parts_w = min(s.dilation_h, s.made.H), min(s.dilation_w, s.made.W)
    s.N = conv.N * s.parts_h * s.parts_w
    s.H_out = ceil_div(s.made.H - s.made.top, s.made.stride_h)
    s.W_out = ceil_div(s.made.W - s.made.left, s.made.stride_w)
    s.tile_rows = ceil_div(s.H_out, s.m_h)
    s.tile_columns = ceil_div(s.W_out, s.m_w)
    s.length = value_length(s.C, lanes, itemsize)
    s.width = round_up(even_part(s.M, 3 * lanes), lanes)
    table = s.phases_out * ceil_div(s.M, s.width) * s.planes * apart(s.C * s.width) * itemsize  # of one group
    s.batch = even_part(s.groups, max(1, TABLE_BYTES // table))
    s.by_tiles = (table <= TABLE_BYTES
                  and (s.M <= 2 * s.width or s.batch * s.N * s.tile_rows * s.tile_columns >= LEAST_TILES))
    if s.by_tiles:
        most = OWN_BYTES // (s.planes * s.C * itemsize)
    else:
        # few tiles read the weights as soon as they are made: those of fewer filters are nearer
        most = (GROUP_BYTES if s.N * s.tile_rows * s.tile_columns > GROUP else GROUP_BYTES // 2)
        s.width = lanes * balanced_vectors(ceil_div(s.M, lanes), most // (s.planes * s.C * lanes * itemsize))
        most = min(PIXEL_BYTES // (s.planes * s.length * itemsize), MOST_TILES)
    s.panels = ceil_div(s.M, s.width)
    block_of_tiles(&s, most, ceil_div(WINOGRAD_TASKS, s.batch) if s.by_tiles else 0)
    s.span = max(1, SPAN // s.columns) * s.columns if s.columns <= SPAN else SPAN
    s.span = min(s.span, s.rows * s.columns)
    s.parts = min(s.panels, max(1, WINOGRAD_TASKS // max(1, s.batch * <Py_ssize_t>tile_blocks(&s))))
    s.pixels = s.planes * apart(round_up(s.rows * s.columns, ROWS) * s.length) + ROWS * s.length
    s.weights = s.planes * apart(s.C * s.width)
    s.scratch = round_up(max(strips_size(&s, lanes), s.planes * apart(s.span * s.width),
                             taps * s.width * WINOGRAD_CHANNELS), 64)
    if s.by_tiles:
        s.shared, s.own = s.batch * table, table_bytes(&s) + (s.pixels + s.scratch) * itemsize
    else:
        s.shared, s.own = table_bytes(&s) + s.pixels * itemsize, (s.weights + s.scratch) * itemsize
    s.shared, s.own = round_up(s.shared, 64), round_up(s.own, 64)
    return s


cdef Py_ssize_t balanced_vectors(Py_ssize_t vectors, Py_ssize_t most) noexcept nogil:
    """Vectors of a panel, 1 to 3 and no more than `most`, of all `vectors`: blocks of more are faster, uneven panels wait."""
    if most >= 3 and (vectors % 3 == 0 or vectors > 24):
        return 3
    return 2 if most >= 2 else 1


cdef bint winograd_fits(const Conv* conv, int which, size_t itemsize) noexcept nogil:
    """Whether the workspace stays small (very many channels are for columns); a caller who asks for it gets it in any case."""
    cdef Winograd s
    cdef WinogradWeight weight
    if which == BACKWARD_WEIGHT:
        weight = winograd_weight_sizes(conv, itemsize)
        return weight.shared + weight.own <= <size_t>WORKSPACE_BYTES
    s = winograd_sizes(conv, which == BACKWARD_INPUT, itemsize)
    return s.shared + s.own <= <size_t>WORKSPACE_BYTES


cdef inline Runs runs(const Winograd* s, int phase, Py_ssize_t v) noexcept nogil:
    cdef Runs r
    cdef Py_ssize_t channels, rows = s.kernel.stride_h, columns = s.kernel.stride_w, full_h, full_w
    r.count, r.length, r.step = 1, s.C, s.C
    channels = s.C // s.phases
    if s.planes == 6:
        if v == 5 and s.kernel.height * s.kernel.width < s.phases * s.kernel.r:
            r.length = s.C - channels
        return r
    if s.phases * s.phases_out == 1:
        return r
    # the phases of r taps, not r - 1; value 5 is the last tap, value 0 in reverse order
    full_h, full_w = s.kernel.height - (s.kernel.r - 1) * rows, s.kernel.width - (s.kernel.r - 1) * columns
    if s.flipped:
        r.count = not (v // 6 == 0 and phase // columns >= full_h or v % 6 == 0 and phase % columns >= full_w)
    elif channels >= LEAST_RUN:
        rows = full_h if v // 6 == 5 else rows
        columns = full_w if v % 6 == 5 else columns
        r.step = s.kernel.stride_w * channels
        r.count = 1 if columns == s.kernel.stride_w else rows
        r.length = rows * r.step if r.count == 1 else columns * channels
    return r
