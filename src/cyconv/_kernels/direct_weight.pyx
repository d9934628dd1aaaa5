# The gradient of the weight by the products of direct.pyx: those of the pixels of every tap with a panel of gradients, transposed
# so that the lanes of a vector are filters. No column is made.
#
# A task owns some filters and channels, and a fixed part of the tiles; where tiles are divided into parts, the sums of each
# wait in memory and are added in their order: same bits.

cdef Py_ssize_t GRADIENT_PIXELS = 512            # of a tile
cdef Py_ssize_t GRADIENT_SUMS = 3 << 18          # bytes of the sums of a task: they stay in the L2 cache
cdef Py_ssize_t GRADIENT_PANELS = 4              # of filters of a task, at most
cdef Py_ssize_t GRADIENT_LINES = 3 << 18         # bytes of the lines of a task's channels


cdef struct DirectWeight:
    Direct tiling
    Py_ssize_t tiles                # of all images, of one group
    Py_ssize_t channels, blocks     # of one task, and how many blocks that gives
    Py_ssize_t splits               # parts of the tiles
    size_t lines, grads, sums       # elements: of the lines of a task, its gradients as panels, its sums
    size_t table                    # bytes of the distances of taps, shared
    size_t taps                     # elements: distances of those inside the image at a tile that is cut, and rows of their sums


cdef DirectWeight direct_weight_sizes(const Conv* conv, size_t itemsize) noexcept nogil:
    cdef DirectWeight s
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w, lanes = lanes_of(itemsize), wanted = tasks_wanted(conv)
    cdef Py_ssize_t width, most, pixels, blocks
    memset(&s, 0, sizeof(DirectWeight))
    s.tiling = direct_tiling(conv, False, GRADIENT_PIXELS, True)
    pixels = s.tiling.images * s.tiling.rows * s.tiling.columns
    s.tiles = s.tiling.image_tiles * s.tiling.row_tiles * s.tiling.column_tiles
    s.tiling.vectors = ceil_div(conv.M, lanes)
    s.tiling.panels = ceil_div(s.tiling.vectors, PANEL_VECTORS)
    divide(s.tiling.panels, ceil_div(s.tiling.panels, GRADIENT_PANELS), 1, &s.tiling.block, &s.tiling.blocks)
    width = min(s.tiling.vectors, s.tiling.block * PANEL_VECTORS) * lanes
    most = GRADIENT_SUMS // (width * taps * <Py_ssize_t>itemsize)
    if not s.tiling.in_place:
        most = min(most, GRADIENT_LINES // (s.tiling.images * s.tiling.channel * <Py_ssize_t>itemsize))
    divide(conv.C, ceil_div(conv.C, max(1, most)), 1, &s.channels, &s.blocks)
    s.sums = round_up((s.channels * taps + GROUP) * width, 64)
    blocks = conv.groups * s.tiling.blocks * s.blocks
    s.splits = min(ceil_div(wanted, blocks), max(1, s.tiles))
    s.splits = min(s.splits, max(1, PARTIAL_BYTES // (blocks * <Py_ssize_t>(s.sums * itemsize))))
    if not s.tiling.in_place:
        s.tiling.image = s.channels * s.tiling.channel
        s.lines = round_up(s.tiling.images * s.tiling.image, 64)
    s.tiling.places = places_size(&s.tiling, itemsize)
    s.grads = round_up(pixels * width, 64)
    s.table = round_up((s.channels * taps + GROUP) * sizeof(Py_ssize_t), 64)
    s.taps = 2 * s.table // itemsize if s.tiling.cut else 0
    return s


cdef inline Py_ssize_t gradient_tasks(const Conv* conv, const DirectWeight* s) noexcept nogil:
    return conv.groups * s.tiling.blocks * s.blocks * s.splits


cdef inline size_t direct_weight_own(const DirectWeight* s) noexcept nogil:
    # Elements of workspace of each thread.
    return s.tiling.places + s.taps + s.lines + s.grads + (s.sums if s.splits == 1 else 0)


cdef inline size_t direct_weight_shared(const Conv* conv, const DirectWeight* s) noexcept nogil:
    # And of all.
    return gradient_tasks(conv, s) * s.sums if s.splits > 1 else 0


cdef int direct_backward_weight(const Conv* conv, const floating* grad_output, const floating* input,
                                floating* grad_weight) noexcept nogil:
    """Returns 1; NO_MEMORY; or 0, with nothing done, where a gradient is not finite and would not be multiplied by the zeros
    around the image."""
    cdef DirectWeight s = direct_weight_sizes(conv, sizeof(floating))
    if s.tiling.cut and not all_finite(grad_output, conv.N * conv.C_out * conv.L):
        return 0
    cdef Py_ssize_t tasks = gradient_tasks(conv, &s), taps = conv.window.kernel_h * conv.window.kernel_w, t
    cdef int threads = team_of(conv.threads, multiply_adds(conv), tasks)
    cdef size_t own = direct_weight_own(&s)
    cdef char* workspace = <char*>cyconv_acquire(s.table + (direct_weight_shared(conv, &s) + threads * own) * sizeof(floating))
    cdef Py_ssize_t* distance = <Py_ssize_t*>workspace
    cdef floating* partial = <floating*>(workspace + s.table)
    cdef floating* scratch = partial + direct_weight_shared(conv, &s)
    if workspace == NULL:
        return NO_MEMORY
    lay_distances(&s.tiling.strip, &conv.window, distance)
    spread_taps(distance, taps, s.channels, s.tiling.channel, distance)
    for t in range(s.channels * taps, s.channels * taps + GROUP):
        distance[t] = 0
    if threads == 1:  # a team of one costs most of a microsecond
        for t in range(tasks):
            direct_weight_task(conv, &s, t, grad_output, input, grad_weight, distance, partial, scratch)
    else:
        for t in prange(tasks, num_threads=threads, schedule="dynamic"):
            direct_weight_task(conv, &s, t, grad_output, input, grad_weight, distance, partial, scratch + threadid() * own)
    if s.splits > 1:
        for t in prange(tasks // s.splits * s.tiling.block, num_threads=threads):
            add_splits(conv, &s, t, partial, grad_weight)
    cyconv_release(workspace)
    return 1


cdef void direct_weight_task(const Conv* conv, const DirectWeight* s, Py_ssize_t task, const floating* grad_output,
                             const floating* input, floating* grad_weight, const Py_ssize_t* distance, floating* partial,
                             floating* workspace) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    cdef const Direct* tiling = &s.tiling
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w, lanes = lanes_of(sizeof(floating))
    cdef Py_ssize_t* place = <Py_ssize_t*>workspace
    cdef Py_ssize_t* own_taps = <Py_ssize_t*>(workspace + tiling.places)
    cdef Py_ssize_t* row = <Py_ssize_t*>NULL  # of the sums of each tap, where some are left out
    cdef floating* lines = workspace + tiling.places + s.taps
    cdef const floating* pixels
    cdef floating* grads = lines + s.lines
    cdef floating* sums = grads + s.grads if s.splits == 1 else partial + task * s.sums
    cdef Py_ssize_t block = task // s.splits
    cdef Py_ssize_t split = digit(&task, s.splits), c0 = digit(&task, s.blocks) * s.channels
    cdef Py_ssize_t p0 = digit(&task, tiling.blocks) * tiling.block, f0 = panel_start(tiling, p0) * lanes, g = task
    cdef Py_ssize_t past = min(p0 + tiling.block, tiling.panels), first = split * s.tiles // s.splits
    cdef Py_ssize_t channels = min(s.channels, conv.C - c0), filters = min(conv.M, panel_start(tiling, past) * lanes) - f0
    cdef Py_ssize_t i, n, rows, columns, p, f, width, l, reached = channels * taps
    cdef Tile tile = gradient_tile(conv, s, g, first), following
    cdef cyconv_ahead lines_ahead, ahead  # of the following tile
    if tiling.cut:  # taps begin with one tile or another
        distance, row = own_taps, own_taps + s.channels * taps + GROUP
        memset(sums, 0, s.sums * sizeof(floating))
    for i in range(first, (split + 1) * s.tiles // s.splits):
        following = gradient_tile(conv, s, g, min(i + 1, s.tiles - 1))
        lines_ahead = tile_ahead(conv, tiling, &following, c0, channels, input)
        ahead = planes_ahead(grad_output + (following.n * conv.C_out + g * conv.M + f0) * conv.L, conv.L,
                             following.y * conv.W_out + following.x, min(following.y + tiling.rows, conv.H_out) * conv.W_out,
                             filters, following.images, conv.C_out * conv.L)
        ahead.after = &lines_ahead
        rows, columns = min(tile.rows, conv.H_out - tile.y), min(tile.columns, conv.W_out - tile.x)
        l = tile.y * conv.W_out + tile.x
        pixels = pixels_of(conv, tiling, &tile, c0, channels, input, lines)
        lay_places(tiling, tile.images, rows, columns, place)
        if tiling.cut:
            reached = lay_taps_inside(&tiling.axis_h, &tiling.axis_w, tile.y, tile.x, conv.W_in, channels, tiling.channel,
                                      own_taps, row)
            for n in range(reached, reached + GROUP if reached else 0):  # up to whole blocks: their last sums are kept behind others
                own_taps[n], row[n] = own_taps[0], s.channels * taps
        for p in range(p0, past if reached else p0):
            f, width = panel_start(tiling, p) * lanes, filters_of(tiling, p, sizeof(floating))
            for n in range(tile.images):
                lay_gradients(grad_output + ((tile.n + n) * conv.C_out + g * conv.M + f) * conv.L + l, conv.L, conv.W_out,
                              min(width, conv.M - f), rows, columns, width, grads + n * rows * columns * width)
            pixel_products(pixels, distance, reached, place, tile.images * rows * columns, grads, <const Py_ssize_t*>NULL,
                           width // lanes, tiling.cut or i > first, sums + (f - f0) * (s.channels * taps + GROUP), row, &ahead)
        tile = following
    if s.splits == 1:
        for p in range(tiling.block):
            store_gradient(conv, s, block, p, sums, False, grad_weight)
    restore_denormals(control)


cdef void lay_gradients(const floating* plane, Py_ssize_t size, Py_ssize_t W, Py_ssize_t filters, Py_ssize_t rows,
                        Py_ssize_t columns, Py_ssize_t width, floating* grads) noexcept nogil:
    """Some rows of planes of (W columns, `size` elements) as a panel: (rows, columns, width)."""
    cdef Py_ssize_t r
    if columns == W:
        rows, columns = 1, rows * columns
    for r in range(rows):
        transpose(plane + r * W, size, filters, columns, width, grads + r * columns * width)


cdef inline Tile gradient_tile(const Conv* conv, const DirectWeight* s, Py_ssize_t g, Py_ssize_t i) noexcept nogil:
    """Tile i of the tiles of one group."""
    cdef Py_ssize_t plane = s.tiling.row_tiles * s.tiling.column_tiles
    return tile_at(conv, &s.tiling, (i // plane * conv.groups + g) * plane + i % plane)


cdef void store_gradient(const Conv* conv, const DirectWeight* s, Py_ssize_t block, Py_ssize_t panel, const floating* sums,
                         bint accumulate, floating* grad_weight) noexcept nogil:
    """The sums of one panel of a block of filters and channels to the gradient, or added to it."""
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w, lanes = lanes_of(sizeof(floating))
    cdef Py_ssize_t c0 = digit(&block, s.blocks) * s.channels
    cdef Py_ssize_t p0 = digit(&block, s.tiling.blocks) * s.tiling.block, f, width
    if p0 + panel >= s.tiling.panels:
        return
    f, width = panel_start(&s.tiling, p0 + panel) * lanes, filters_of(&s.tiling, p0 + panel, sizeof(floating))
    store_pixels(sums + (f - panel_start(&s.tiling, p0) * lanes) * (s.channels * taps + GROUP), width, min(s.channels, conv.C - c0) * taps,
                 min(width, conv.M - f), <const floating*>NULL, False, accumulate,
                 grad_weight + (block * conv.M + f) * conv.K + c0 * taps, conv.K)


cdef void add_splits(const Conv* conv, const DirectWeight* s, Py_ssize_t task, const floating* partial,
                     floating* grad_weight) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t panel = digit(&task, s.tiling.block), split
    for split in range(s.splits):
        store_gradient(conv, s, task, panel, partial + (task * s.splits + split) * s.sums, split > 0, grad_weight)
    restore_denormals(control)
