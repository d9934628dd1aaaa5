# Convolution without columns ("direct"): the lanes of a vector are filters, and every pixel is read as a scalar, in rows that
# are laid end to end, padded with zeros. A window is a few distances along them, so that strides, dilations and the ends of
# rows cost nothing; no column is made or packed. The weights are packed once, for all pixels; sums are transposed when stored.
#
# Where much of what windows reach is padding, tiles are cut so that whole taps can be left out (inside.pyx).
#
# Forward; and the gradient of the input, which is forward from grad_output with the transposed weight, phase by phase where
# there is a stride: each phase of the pixels takes only the taps that reach it.

cdef Py_ssize_t MOST_PIXELS = 288           # of a tile,
cdef Py_ssize_t LEAST_PIXELS = 96           # and fewer only where a task would have too little to do
cdef Py_ssize_t DIRECT_LINES = 1 << 20      # bytes of the lines of one tile: they stay in the L2 cache
cdef Py_ssize_t DIRECT_WEIGHTS = 7 << 19    # of the weights of one pass
cdef Py_ssize_t COLLIDING = 256             # bytes: planes so far apart, or twice, ..., meet in a few sets of the L1 cache
cdef Py_ssize_t PAGE = 4096                 # bytes of a page of memory,
cdef Py_ssize_t LEAST_TAPS = 4              # of a channel, for which another one is worth reading
cdef Py_ssize_t LINE_CHANNELS = 16          # that are laid by one task, where tiles share their lines
# Tiles are cut, and taps outside the image left out, where
cdef double MOST_INSIDE = 0.85              # at most this part of all taps is inside,
cdef Py_ssize_t CUT_PRODUCTS = 128          # outputs have so many products in the mean: fewer cost less than to store parts of rows,
cdef Py_ssize_t CUT_PIXELS = 72             # tiles so many pixels in the mean,
cdef Py_ssize_t CUT_KERNEL = 16             # and kernels at most so many rows and columns: each begins new parts.
cdef Py_ssize_t CUT_COLUMNS = 32            # Columns of such a tile, at most, or what makes it as large as others;
cdef Py_ssize_t CUT_TAPS = 96               # taps of a product: pixels far apart stay in the L1 cache


cdef struct Direct:
    Strip strip                     # what is read
    Py_ssize_t C, M                 # channels that are read and that are made, of one group
    Py_ssize_t H, W                 # of the planes that are made
    Py_ssize_t step_h, step_w       # pixels of what is read, from an output to the next
    Py_ssize_t images, rows, columns                    # of a tile, of one phase; more than one row: all columns; if cut, at most
    Py_ssize_t image_tiles, row_tiles, column_tiles     # how many tiles there are
    Py_ssize_t vectors, panels      # of filters, and how many panels of them that gives
    Py_ssize_t block, blocks        # panels of a task, and how many blocks that gives
    Py_ssize_t channels, few        # of one pass over all tiles, and of one product
    Py_ssize_t channel, image       # elements between the lines of two channels, and of two images
    bint in_place                   # the image is its own lines
    bint cut                        # tiles are cut where the pixels of a tap begin or end; taps outside the image are left out
    Axis axis_h, axis_w             # of such tiles
    bint shared                     # lines are laid once for all blocks
    bint packed                     # weights are packed once for all tiles; else by each task of a few, for each product
    size_t weights, lines           # elements: packed weights, of one pass or of one product; lines of one tile
    size_t places, sums             # elements of workspace of each thread, beside the lines where they are not shared
    size_t table                    # bytes of the tables of taps, shared


cdef struct Tile:
    # One tile of a group: its first image, and its first output of one phase; how many images, rows and columns it has.
    Py_ssize_t g, n, y, x, images, rows, columns


cdef Direct direct_tiling(const Conv* conv, bint backward, Py_ssize_t pixels, bint near) noexcept nogil:
    """Tiles of at most about so many pixels of one phase: images, rows of one, or a part of a row (or `cut`); and their lines.

    Images that need no padding are their own lines, if planes are `near`; or if what would be multiplied by padding is left out.
    """
    cdef Direct s
    cdef const Window* w = &conv.window
    cdef Py_ssize_t over_h, over_w  # of a window, beyond its first pixel
    cdef Py_ssize_t rows, columns, plane
    memset(&s, 0, sizeof(Direct))
    s.strip = plane_strip(conv, backward)
    if backward:
        s.C, s.M, s.H, s.W, s.step_h, s.step_w = conv.M, conv.C, conv.H_in, conv.W_in, 1, 1
        s.rows, s.columns = s.strip.rows, ceil_div(conv.W_in, w.stride_w)
        over_h, over_w = s.strip.lines, s.strip.width + s.strip.shared - s.columns
    else:
        s.C, s.M, s.H, s.W, s.step_h, s.step_w = conv.C, conv.M, conv.H_out, conv.W_out, w.stride_h, w.stride_w
        s.rows, s.columns = conv.H_out, conv.W_out
        over_h, over_w = w.dilation_h * (w.kernel_h - 1), w.dilation_w * (w.kernel_w - 1)
    s.strip.stride_h = s.strip.stride_w = 1  # pixels lie in order, not by phases
    plane = s.strip.H * s.strip.W
    s.in_place = (near and s.strip.top == 0 and s.strip.left == 0 and (s.rows - 1) * s.step_h + over_h < s.strip.H
                  and (s.columns - 1) * s.step_w + over_w < s.strip.W)
    rows, columns, s.images = s.rows, s.columns, 1
    if rows * columns <= pixels:
        s.images = even_part(max(1, conv.N), pixels // (rows * columns))
    elif columns <= pixels:
        s.rows = even_part(rows, pixels // columns)
    else:
        s.rows, s.columns = 1, even_part(columns, pixels)
    s.image_tiles, s.row_tiles, s.column_tiles = ceil_div(conv.N, s.images), ceil_div(rows, s.rows), ceil_div(columns, s.columns)
    s.strip.lines = (s.rows - 1) * s.step_h + over_h + 1
    if s.in_place:
        s.strip.width, s.channel, s.image = s.strip.W, plane, conv.groups * s.C * plane
    else:
        s.strip.width = (s.columns - 1) * s.step_w + over_w + 1
        s.channel = apart(s.strip.lines * s.strip.width)
    if max(w.stride_h, w.stride_w) == 1 and max(w.kernel_h, w.kernel_w) <= CUT_KERNEL:
        cut_tiles(conv, backward, pixels, &s)
    return s


cdef void cut_tiles(const Conv* conv, bint backward, Py_ssize_t pixels, Direct* s) noexcept nogil:
    """Cut tiles where the pixels of a tap begin or end, if that saves enough; then no padding is read, and the image is its own
    lines, wherever its planes lie."""
    cdef const Window* w = &conv.window
    cdef Axis* down = &s.axis_h
    cdef Axis* across = &s.axis_w
    cdef Py_ssize_t rows, columns, images, row_tiles, column_tiles
    cdef double inside
    down.outputs, down.pixels, down.taps, down.first, down.step = s.H, s.strip.H, w.kernel_h, -w.pad_top, w.dilation_h
    across.outputs, across.pixels, across.taps, across.first, across.step = s.W, s.strip.W, w.kernel_w, -w.pad_left, w.dilation_w
    if backward:  # tap i of a pixel is the output that it was tap i of
        down.first, down.step, across.first, across.step = -down.first, -down.step, -across.first, -across.step
    inside = share_inside(down) * share_inside(across)
    if inside > MOST_INSIDE or inside * s.C * w.kernel_h * w.kernel_w < CUT_PRODUCTS:
        return
    pixels = pixels * 5 // 3  # more than of others, which have lines in the caches too
    column_tiles = parts_in(across, max(CUT_COLUMNS, pixels // max(1, s.H)), &columns)
    row_tiles = parts_in(down, max(1, pixels // max(1, columns)), &rows)
    images = even_part(max(1, conv.N), max(1, pixels // max(1, rows * columns)))
    if conv.N * s.H * s.W < CUT_PIXELS * row_tiles * column_tiles * ceil_div(conv.N, images):
        return
    s.cut = s.in_place = True
    s.images, s.rows, s.columns = images, rows, columns
    s.image_tiles, s.row_tiles, s.column_tiles = ceil_div(conv.N, images), row_tiles, column_tiles
    s.strip.width, s.channel = s.strip.W, s.strip.H * s.strip.W
    s.image = conv.groups * s.C * s.channel


cdef Direct direct_sizes(const Conv* conv, bint backward, size_t itemsize) noexcept nogil:
    cdef const Window* w = &conv.window
    cdef Py_ssize_t taps = w.kernel_h * w.kernel_w, lanes = lanes_of(itemsize), wanted = tasks_wanted(conv), tiles, room
    cdef Py_ssize_t positions = ceil_div(conv.H_in, w.stride_h) * ceil_div(conv.W_in, w.stride_w) if backward else conv.L
    cdef Py_ssize_t vectors = ceil_div(conv.C if backward else conv.M, lanes), panels = ceil_div(vectors, PANEL_VECTORS)
    cdef Direct s = direct_tiling(conv, backward, max(LEAST_PIXELS, min(MOST_PIXELS,
                                  ceil_div(2 * conv.N * conv.groups * positions * panels, wanted))),
                                  planes_near(conv, backward, itemsize))
    tiles = max(1, direct_tiles(conv, &s))
    s.vectors, s.panels = vectors, panels
    divide(s.panels, ceil_div(wanted * 3 // 4, tiles), 1, &s.block, &s.blocks)
    s.shared = s.blocks > 1 and not s.in_place
    room = DIRECT_LINES * (2 if s.shared else 1) // (s.images * s.channel * <Py_ssize_t>itemsize * (tiles if s.shared else 1))
    if s.in_place:
        room = s.C
    s.packed = s.cut or tiles > 2 * conv.groups or s.strip.phases_h * s.strip.phases_w > 1
    if s.packed:
        room = min(room, DIRECT_WEIGHTS // (conv.groups * s.vectors * lanes * taps * <Py_ssize_t>itemsize))
    s.channels = even_part(s.C, min(s.C, max(1, room)))
    s.few = min(s.channels, max(1, (CUT_TAPS if s.cut else PANEL_DEPTH) // taps))
    if not s.in_place:
        s.image = s.channels * s.channel
        s.lines = round_up(s.images * s.image, 64)
    s.weights = conv.groups * s.vectors * lanes * s.channels * taps if s.packed else s.few * taps * PANEL_VECTORS * lanes
    s.places = places_size(&s, itemsize)
    s.sums = (s.images * s.rows * s.columns + 2 * GROUP) * PANEL_VECTORS * lanes  # of one phase of those in a row
    s.table = round_up(((s.few + 2) * taps + s.strip.phases_h * s.strip.phases_w) * sizeof(Py_ssize_t), 64)
    return s


cdef bint planes_near(const Conv* conv, bint backward, size_t itemsize) noexcept nogil:
    """Whether the pixels of many channels may be read where they lie: several from a page of memory, which do not meet in the
    same sets of the caches."""
    cdef const Window* w = &conv.window
    cdef Py_ssize_t size = (conv.L if backward else conv.H_in * conv.W_in) * <Py_ssize_t>itemsize
    return size % COLLIDING != 0 and (w.kernel_h * w.kernel_w >= LEAST_TAPS or size * w.stride_h * w.stride_w <= PAGE)


cdef inline size_t places_size(const Direct* s, size_t itemsize) noexcept nogil:
    # Elements of workspace for the places of a tile's pixels, and for the taps that are inside the image there.
    return round_up((s.images * s.rows * s.columns + GROUP + (2 * PANEL_DEPTH if s.cut else 0)) * sizeof(Py_ssize_t), 64) // itemsize


cdef inline Py_ssize_t direct_tiles(const Conv* conv, const Direct* s) noexcept nogil:
    return s.image_tiles * conv.groups * s.row_tiles * s.column_tiles


cdef inline Tile tile_at(const Conv* conv, const Direct* s, Py_ssize_t tile) noexcept nogil:
    """Of all tiles: columns of tiles x rows of tiles x groups x images."""
    cdef Tile t
    cdef Py_ssize_t x = digit(&tile, s.column_tiles), y = digit(&tile, s.row_tiles)
    t.x, t.y, t.columns, t.rows = x * s.columns, y * s.rows, s.columns, s.rows
    if s.cut:
        part_at(&s.axis_w, s.columns, x, &t.x, &t.columns)
        part_at(&s.axis_h, s.rows, y, &t.y, &t.rows)
    t.g = digit(&tile, conv.groups)
    t.n = tile * s.images
    t.images = min(s.images, conv.N - t.n)
    return t


cdef inline size_t direct_own(const Direct* s) noexcept nogil:
    # Elements of workspace of each thread.
    return round_up(s.places + s.sums * s.strip.phases_w + (0 if s.shared else s.lines) + (0 if s.packed else s.weights), 64)


cdef inline size_t direct_shared(const Conv* conv, const Direct* s) noexcept nogil:
    # And of all.
    return (s.weights if s.packed else 0) + (s.lines * direct_tiles(conv, s) if s.shared else 0)


cdef bint direct_applies(const Conv* conv, int which, size_t itemsize) noexcept nogil:
    cdef const Window* w = &conv.window
    cdef Direct s
    cdef DirectWeight weight
    if not CYCONV_PANELS or w.kernel_h * w.kernel_w > PANEL_DEPTH:
        return False
    if conv.pointwise and conv.M <= 2 * lanes_of(itemsize):  # gemm reads the image for few filters where it lies
        return False
    if which == BACKWARD_INPUT and (conv.pointwise or max(w.stride_h, w.stride_w) > 8):  # forward with weight^T; so many phases
        return False
    if which == BACKWARD_WEIGHT:
        weight = direct_weight_sizes(conv, itemsize)
        return weight.table + (direct_weight_shared(conv, &weight) + direct_weight_own(&weight)) * itemsize <= <size_t>WORKSPACE_BYTES
    s = direct_sizes(conv, which == BACKWARD_INPUT, itemsize)
    return s.table + (direct_shared(conv, &s) + direct_own(&s)) * itemsize <= <size_t>WORKSPACE_BYTES


cdef int direct(const Conv* conv, bint backward, const floating* images, const floating* weight, const floating* bias,
                bint relu, floating* outputs) noexcept nogil:
    """Forward, or with `backward` the gradient of the input: images and outputs change sides.

    Returns 1; NO_MEMORY; or 0, with nothing done, where a weight is not finite, and the gradient would multiply it by the zeros
    around grad_output (there is no such term in the sum), or the outputs leave out its products with those around the image.
    """
    cdef Direct s = direct_sizes(conv, backward, sizeof(floating))
    if s.cut != backward and not all_finite(weight, conv.C_out * conv.K):
        return 0
    cdef Py_ssize_t tiles = direct_tiles(conv, &s), tasks = tiles * s.blocks, packs, lines, c0 = 0, t
    cdef int threads = team_of(conv.threads, multiply_adds(conv), tasks)
    cdef size_t own = direct_own(&s)
    cdef char* workspace = <char*>cyconv_acquire(s.table + (direct_shared(conv, &s) + threads * own) * sizeof(floating))
    cdef Py_ssize_t* table = <Py_ssize_t*>workspace
    cdef floating* weights = <floating*>(workspace + s.table)
    cdef floating* shared = weights + (s.weights if s.packed else 0)
    cdef floating* scratch = weights + direct_shared(conv, &s)
    if workspace == NULL:
        return NO_MEMORY
    lay_taps(&s.strip, &conv.window, backward, s.few, s.channel, table)
    packs = conv.groups * s.panels if s.packed else 0
    while c0 < s.C:
        lines = tiles * ceil_div(min(s.channels, s.C - c0), LINE_CHANNELS) if s.shared else 0
        if threads == 1:  # a team of one costs most of a microsecond
            for t in range(packs + lines):
                prepare_direct(conv, &s, backward, t, packs, c0, images, weight, table, weights, shared)
            for t in range(tasks):
                direct_task(conv, &s, backward, t, t + threads, c0, images, weight, weights, bias, relu, outputs, table, shared, scratch)
        else:
            for t in prange(packs + lines, num_threads=threads, schedule="dynamic"):
                prepare_direct(conv, &s, backward, t, packs, c0, images, weight, table, weights, shared)
            for t in prange(tasks, num_threads=threads, schedule="dynamic"):
                direct_task(conv, &s, backward, t, t + threads, c0, images, weight, weights, bias, relu, outputs, table, shared, scratch + threadid() * own)
        c0 += s.channels
    cyconv_release(workspace)
    return 1


cdef inline Py_ssize_t panel_start(const Direct* s, Py_ssize_t panel) noexcept nogil:
    # The first vector of a panel of filters: the last two share what would leave a lone vector.
    if panel > 0 and panel == s.panels - 1 and s.vectors % PANEL_VECTORS == 1:
        return (panel - 1) * PANEL_VECTORS + (PANEL_VECTORS + 2) // 2
    return min(panel * PANEL_VECTORS, s.vectors)


cdef inline Py_ssize_t filters_of(const Direct* s, Py_ssize_t panel, size_t itemsize) noexcept nogil:
    # Its filters, in whole vectors.
    return (panel_start(s, panel + 1) - panel_start(s, panel)) * lanes_of(itemsize)


cdef void prepare_direct(const Conv* conv, const Direct* s, bint backward, Py_ssize_t task, Py_ssize_t packs, Py_ssize_t c0,
                         const floating* images, const floating* weight, const Py_ssize_t* table, floating* weights,
                         floating* shared) noexcept nogil:
    """One panel of the weights of a pass, or (tasks from `packs` on) some lines of a tile."""
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w, channels = min(s.channels, s.C - c0), c, p
    cdef Tile tile
    if task >= packs:
        task -= packs
        c = digit(&task, ceil_div(channels, LINE_CHANNELS)) * LINE_CHANNELS
        tile = tile_at(conv, s, task)
        lay_tile(conv, s, &tile, c0, c, min(c + LINE_CHANNELS, channels), images, shared + task * s.lines)
        return
    p = digit(&task, s.panels)
    pack_panel(conv, s, backward, task, p, c0, channels, table, weight,
               weights + (task * s.vectors + panel_start(s, p)) * lanes_of(sizeof(floating)) * s.channels * taps)


cdef void pack_panel(const Conv* conv, const Direct* s, bint backward, Py_ssize_t g, Py_ssize_t panel, Py_ssize_t c, Py_ssize_t channels,
                     const Py_ssize_t* table, const floating* weight, floating* packed) noexcept nogil:
    """The weights of a panel of filters, for some channels: for each phase (channels, taps, filters)."""
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w, f = panel_start(s, panel) * lanes_of(sizeof(floating)), first
    cdef Py_ssize_t width = filters_of(s, panel, sizeof(floating)), filters = min(width, s.M - f)
    if backward:
        first = (g * conv.M + c) * conv.K + f * taps
        pack_transposed_taps(weight + first, conv.C_out * conv.K - first, taps, conv.K, filters, channels, table + taps,
                             table + 2 * taps, s.strip.phases_h * s.strip.phases_w, width, packed)
    else:
        transpose(weight + (g * s.M + f) * conv.K + c * taps, conv.K, filters, channels * taps, width, packed)


cdef void lay_tile(const Conv* conv, const Direct* s, const Tile* t, Py_ssize_t c0, Py_ssize_t first, Py_ssize_t past,
                   const floating* images, floating* lines) noexcept nogil:
    """Channels c0 + first.. c0 + past of one tile as lines."""
    cdef Py_ssize_t plane = s.strip.H * s.strip.W, n, c
    for n in range(t.images):
        for c in range(first, past):
            lay_padded(images + (((t.n + n) * conv.groups + t.g) * s.C + c0 + c) * plane, s.strip.H, s.strip.W,
                       t.y * s.step_h - s.strip.top, t.x * s.step_w - s.strip.left, s.strip.lines, s.strip.width,
                       lines + n * s.image + c * s.channel)


cdef const floating* pixels_of(const Conv* conv, const Direct* s, const Tile* t, Py_ssize_t c0, Py_ssize_t channels,
                               const floating* images, floating* lines) noexcept nogil:
    """Some channels of a tile where they lie in the image, or laid as `lines`."""
    if s.in_place:
        return images + ((t.n * conv.groups + t.g) * s.C + c0) * s.channel + t.y * s.step_h * s.strip.W + t.x * s.step_w
    lay_tile(conv, s, t, c0, 0, channels, images, lines)
    return lines


cdef cyconv_ahead planes_ahead(const floating* planes, Py_ssize_t plane, Py_ssize_t first, Py_ssize_t past, Py_ssize_t channels,
                               Py_ssize_t images, Py_ssize_t image) noexcept nogil:
    """Elements first..past of each of some planes, that will be read; of several images, `image` elements apart, the whole planes."""
    cdef cyconv_ahead ahead
    memset(&ahead, 0, sizeof(cyconv_ahead))
    if images == 1:
        ahead.at, ahead.bytes = <const char*>(planes + first), (past - first) * sizeof(floating)
        ahead.step, ahead.runs = plane * sizeof(floating), channels
    else:
        ahead.at, ahead.bytes = <const char*>planes, channels * plane * sizeof(floating)
        ahead.step, ahead.runs = image * sizeof(floating), images
    return ahead


cdef cyconv_ahead tile_ahead(const Conv* conv, const Direct* s, const Tile* t, Py_ssize_t c0, Py_ssize_t channels,
                             const floating* images) noexcept nogil:
    """The rows of pixels of a tile."""
    cdef Py_ssize_t y = t.y * s.step_h - s.strip.top, W = s.strip.W, plane = s.strip.H * W
    return planes_ahead(images + ((t.n * conv.groups + t.g) * s.C + c0) * plane, plane, max(0, y) * W,
                        max(0, min(y + s.strip.lines, s.strip.H)) * W, channels, t.images, conv.groups * s.C * plane)


cdef cyconv_ahead weights_ahead(const Conv* conv, const Direct* s, bint backward, Py_ssize_t g, Py_ssize_t f, Py_ssize_t filters,
                                Py_ssize_t c, Py_ssize_t channels, const floating* weight) noexcept nogil:
    """The weights of some filters and channels."""
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w
    if backward:
        return planes_ahead(weight + (g * conv.M + c) * conv.K + f * taps, conv.K, 0, filters * taps, channels, 1, 0)
    return planes_ahead(weight + (g * conv.M + f) * conv.K + c * taps, conv.K, 0, channels * taps, filters, 1, 0)


cdef void direct_task(const Conv* conv, const Direct* s, bint backward, Py_ssize_t task, Py_ssize_t next, Py_ssize_t c0,
                      const floating* images, const floating* weight, const floating* weights, const floating* bias, bint relu,
                      floating* outputs, const Py_ssize_t* table, const floating* lines, floating* workspace) noexcept nogil:
    """The outputs of one task: their products with the channels of the pass that begins with c0.

    Meanwhile the pixels of the `next` task are fetched, which is probably this thread's.
    """
    cdef uint64_t control = flush_denormals()
    cdef const Strip* strip = &s.strip
    cdef Py_ssize_t lanes = lanes_of(sizeof(floating)), taps = conv.window.kernel_h * conv.window.kernel_w
    cdef Py_ssize_t plane = s.H * s.W, channels = min(s.channels, s.C - c0), a, b, c, few, k, k0 = 0, rows, columns, n, p, f, width
    cdef Py_ssize_t inside = 0, here, most = s.few
    cdef Py_ssize_t p0 = digit(&task, s.blocks) * s.block, filters
    cdef Tile tile = tile_at(conv, s, task), following
    cdef const Py_ssize_t* count = table + 2 * taps   # of the taps of each phase,
    cdef const Py_ssize_t* distance = count + strip.phases_h * strip.phases_w  # which stand here
    cdef const Py_ssize_t* reached
    cdef Py_ssize_t* row = <Py_ssize_t*>NULL  # of the weights of each tap, where some are left out
    cdef Py_ssize_t* place = <Py_ssize_t*>workspace
    cdef Py_ssize_t* own_taps = place + s.images * s.rows * s.columns + GROUP
    cdef floating* sums = workspace + s.places
    cdef floating* own = sums + s.sums * strip.phases_w
    cdef const floating* start = <const floating*>NULL
    cdef const floating* panel
    cdef floating* to
    cdef cyconv_ahead ahead, tile_next, weights_next
    cdef bint last = c0 + channels == s.C
    memset(&tile_next, 0, sizeof(cyconv_ahead))
    if s.shared:
        lines += task * s.lines
    else:
        lines = pixels_of(conv, s, &tile, c0, channels, images, own)
        own += s.lines
        if next // s.blocks < direct_tiles(conv, s):
            following = tile_at(conv, s, next // s.blocks)
            tile_next = tile_ahead(conv, s, &following, c0, channels, images)
    if bias != NULL and last:
        start = bias + tile.g * s.M
    weights += tile.g * s.vectors * lanes * s.channels * taps
    outputs += (tile.n * conv.groups + tile.g) * s.M * plane
    columns = min(tile.columns, ceil_div(s.W, strip.phases_w) - tile.x)
    if s.cut:
        inside = taps_at(&s.axis_h, tile.y) * taps_at(&s.axis_w, tile.x)
        most = min(channels, max(1, CUT_TAPS // max(1, inside)))
        distance, row = own_taps, own_taps + PANEL_DEPTH
        lay_taps_inside(&s.axis_h, &s.axis_w, tile.y, tile.x, s.strip.W, most, s.channel, own_taps, row)
    for a in range(strip.phases_h):
        rows = min(tile.rows, ceil_div(s.H - a, strip.phases_h) - tile.y)
        if rows > 0:
            lay_places(s, tile.images, rows, columns, place)
        for p in range(p0, min(p0 + s.block, s.panels) if rows > 0 else p0):
            f, width = panel_start(s, p) * lanes, filters_of(s, p, sizeof(floating))
            filters = min(width, s.M - f)
            reached, k = distance, k0
            to = outputs + f * plane + (tile.y * strip.phases_h + a) * s.W + tile.x * strip.phases_w
            ahead = planes_ahead(to, plane, 0, rows * strip.phases_h * s.W, filters, tile.images, conv.groups * s.M * plane)
            ahead.write, ahead.after = True, &tile_next
            for b in range(strip.phases_w):  # the last column of one that has fewer is not kept
                here = inside if s.cut else count[b]
                if here == 0:
                    memset(sums + b * s.sums, 0, s.sums * sizeof(floating))
                c = 0
                while c < channels and here > 0:
                    few = min(most, channels - c)
                    panel = weights + f * s.channels * taps + (channels * k + c * count[b]) * width
                    if not s.packed:
                        pack_panel(conv, s, backward, tile.g, p, c0 + c, few, table, weight, own)
                        panel = own
                        weights_next = weights_ahead(conv, s, backward, tile.g, f, filters, c0 + c + few,
                                                     min(few, channels - c - few), weight)
                        tile_next.after = &weights_next
                    pixel_products(lines + c * s.channel, place, tile.images * rows * columns, reached, few * here, panel, row,
                                   width // lanes, c > 0, sums + b * s.sums, <const Py_ssize_t*>NULL, &ahead)
                    c += few
                reached += s.few * count[b]
                k += count[b]
            for n in range(tile.images):
                store_tile(s, sums + n * rows * columns * width, width, rows, columns,
                           min(columns * strip.phases_w, s.W - tile.x * strip.phases_w), filters,
                           start + f if start != NULL else start, relu and last, c0 > 0, to + n * conv.groups * s.M * plane)
        for b in range(strip.phases_w):
            distance += s.few * count[b]
            k0 += count[b]
        count += strip.phases_w
    restore_denormals(control)


cdef void lay_places(const Direct* s, Py_ssize_t images, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t* place) noexcept nogil:
    """Of the pixels of a tile, in its lines; then the last one again, up to whole blocks."""
    cdef Py_ssize_t n, r, q, p = 0
    for n in range(images):
        for r in range(rows):
            for q in range(columns):
                place[p] = n * s.image + r * s.step_h * s.strip.width + q * s.step_w
                p += 1
    for q in range(p, p + GROUP):
        place[q] = place[p - 1]


cdef void store_tile(const Direct* s, const floating* sums, Py_ssize_t width, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t pixels,
                     Py_ssize_t filters, const floating* bias, bint relu, bint accumulate, floating* out) noexcept nogil:
    """The sums of an image of a tile to their places among the outputs: rows of one phase, or `pixels` of all that take turns in
    them."""
    cdef Py_ssize_t r
    if s.strip.phases_h * s.strip.phases_w == 1:
        if columns == s.W:  # rows end where the next ones begin
            rows, columns = 1, rows * columns
        for r in range(rows):
            store_pixels(sums + r * columns * width, width, columns, filters, bias, relu, accumulate, out + r * s.W, s.H * s.W)
        return
    for r in range(rows):
        store_phases(sums + r * columns * width, s.sums, s.strip.phases_w, width, pixels, filters, accumulate,
                     out + r * s.strip.phases_h * s.W, s.H * s.W)
