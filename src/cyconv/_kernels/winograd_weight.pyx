# Winograd's gradient of the weight: the transpose of winograd.pyx. For each of the 36 values (6 along one axis), a product
# of the transformed gradients with the transformed pixels, summed over the tiles; then G^T u G gives the taps.
#
# Few sums: a task makes those of its part of the tiles, or of its group, block by block in its core's L2 cache; then they are
# added. Many: a block of filters x channels is summed at a time, over all tiles: first the tiles of a block of the batch, a
# task for each vector of channels, then a task for each value's product. Sums over tiles are made in one order: same bits.

cdef Py_ssize_t PART_BYTES = 11 << 19  # the sums of all parts together
cdef Py_ssize_t SUM_BYTES = 5 << 19    # the sums of a block of filters x channels
cdef Py_ssize_t VALUE_BYTES = 9 << 19  # transformed pixels and gradients of one block of tiles
cdef Py_ssize_t SUM_TILES = 128        # added one after another: the pixels of so many stay in the L1 cache
cdef Py_ssize_t MOST_CHANNEL_BYTES = 512  # of a block: a row of its sums


cdef struct WinogradWeight:
    Winograd tiles                  # as in the forward pass, but for the block of tiles
    Py_ssize_t filters, channels    # of a block of the sums
    Py_ssize_t parts                # of the tiles of a group, each a task with sums of its own; or 0
    size_t values, sums, scratch    # elements of the values of a block of tiles; of the sums of one; of what each thread lays
    size_t shared, own              # bytes of workspace: for all threads together, and for each


cdef WinogradWeight winograd_weight_sizes(const Conv* conv, Py_ssize_t itemsize) noexcept nogil:
    cdef WinogradWeight s
    cdef Py_ssize_t lanes = lanes_of(itemsize), count, planes, most
    s.tiles = winograd_sizes(conv, False, itemsize)
    s.tiles.unit_h = s.tiles.unit_w = 1  # each phase is a task
    s.channels = even_block(s.tiles.C, MOST_CHANNEL_BYTES // itemsize, lanes)
    planes = s.tiles.planes
    s.filters = even_block(conv.M, max(1, SUM_BYTES // (planes * itemsize * round_up(s.channels, lanes))), ROWS)
    s.parts = weight_parts(conv, &s.tiles, lanes, itemsize)
    most = VALUE_BYTES
    if s.parts:
        s.channels, s.filters, most = s.tiles.C, conv.M, OWN_BYTES
    block_of_tiles(&s.tiles, most // (planes * itemsize * (s.channels + s.filters)) // ROWS * ROWS, s.parts)
    s.parts = min(s.parts, <Py_ssize_t>tile_blocks(&s.tiles))  # whole rows of tiles may give fewer
    count = s.tiles.rows * s.tiles.columns
    s.values = planes * (apart(round_up(s.channels, lanes) * count) + apart(round_up(s.filters, max(ROWS, lanes)) * count))
    s.sums = planes * apart(s.filters * round_up(s.channels, lanes))
    s.scratch = round_up(strips_size(&s.tiles, lanes), 64)
    s.shared, s.own = table_bytes(&s.tiles) + (s.values + s.sums) * itemsize, s.scratch * itemsize
    if s.parts:
        s.shared, s.own = conv.groups * s.parts * s.sums * itemsize, table_bytes(&s.tiles) + (s.values + s.scratch) * itemsize
    if s.parts == 1:
        s.shared, s.own = 0, s.own + s.sums * itemsize
    s.shared, s.own = round_up(s.shared, 64), round_up(s.own, 64)
    return s


cdef Py_ssize_t weight_parts(const Conv* conv, const Winograd* w, Py_ssize_t lanes, Py_ssize_t itemsize) noexcept nogil:
    """Parts of the tiles of each group, whose sums are made at once; 0 where these are too many."""
    cdef Py_ssize_t tiles = w.N * w.tile_rows * w.tile_columns
    cdef Py_ssize_t parts = max(1, min(ceil_div(WINOGRAD_TASKS, conv.groups), tiles // (3 * lanes)))
    cdef Py_ssize_t sums = w.planes * apart(conv.M * round_up(w.C, lanes)) * itemsize
    if parts == 1:  # each thread has sums alone
        return sums <= OWN_BYTES and conv.groups > 1
    return parts if conv.groups * parts * sums <= PART_BYTES else 0


cdef Py_ssize_t even_block(Py_ssize_t size, Py_ssize_t most, Py_ssize_t multiple) noexcept nogil:
    """The size of equal blocks of at most `most`, a multiple where there are several."""
    if size <= most:
        return size
    return min(max(most // multiple, 1) * multiple, round_up(ceil_div(size, ceil_div(size, most)), multiple))


cdef int winograd_backward_weight(const Conv* conv, const floating* grad_output, const floating* input,
                                  floating* grad_weight) noexcept nogil:
    """Fill `grad_weight`, and return 1; 0 where a value is not finite, and the direct sum must decide; NO_MEMORY."""
    cdef WinogradWeight s = winograd_weight_sizes(conv, sizeof(floating))
    cdef int threads = team_of(conv.threads, multiply_adds(conv), 1 << 20)
    cdef char* workspace = <char*>cyconv_acquire(s.shared + threads * s.own)
    cdef Py_ssize_t g, i, j, m, c
    cdef bint finite = True
    if workspace == NULL:
        return NO_MEMORY
    if s.parts:
        finite = winograd_weight_by_parts(conv, &s, threads, grad_output, input, grad_weight, workspace)
    for g in range(conv.groups if s.parts == 0 else 0):
        for i in range(ceil_div(conv.M, s.filters)):
            for j in range(ceil_div(s.tiles.C, s.channels)):
                m, c = i * s.filters, j * s.channels
                finite = finite and winograd_weight_block(
                    &s, threads, min(s.filters, conv.M - m), c, min(c + s.channels, s.tiles.C),
                    grad_output + (g * conv.M + m) * conv.L, input + g * conv.C * conv.H_in * conv.W_in,
                    grad_weight + (g * conv.M + m) * conv.K, conv.K, <cyconv_tile*>workspace,
                    <floating*>(workspace + table_bytes(&s.tiles)))
    cyconv_release(workspace)
    return finite


cdef bint winograd_weight_by_parts(const Conv* conv, const WinogradWeight* s, int threads, const floating* grad_output,
                                   const floating* input, floating* grad_weight, char* workspace) noexcept nogil:
    """A task for each part of the tiles of a group; then, where there are several, one for each filter adds their sums."""
    cdef Py_ssize_t t, bad = 0
    cdef char* own = workspace + s.shared
    for t in prange(conv.groups * s.parts, num_threads=threads, schedule="dynamic"):
        bad += winograd_weight_part(conv, s, t, grad_output, input, grad_weight, <floating*>workspace,
                                    own + threadid() * s.own)
    if s.parts > 1:
        for t in prange(conv.C_out, num_threads=threads):
            bad += winograd_weight_filter(conv, s, t, <floating*>workspace, grad_weight)
    return bad == 0


cdef bint winograd_weight_part(const Conv* conv, const WinogradWeight* s, Py_ssize_t task, const floating* grad_output,
                               const floating* input, floating* grad_weight, floating* shared,
                               char* workspace) noexcept nogil:
    """The sums of one part of a group's tiles, and if it is the only part its taps; whether one of these is not finite."""
    cdef const Winograd* w = &s.tiles
    cdef Py_ssize_t g = task // s.parts, part = task % s.parts, blocks = <Py_ssize_t>tile_blocks(w), first, block, t, row, column
    cdef Py_ssize_t across = ceil_div(w.tile_columns, w.columns), lanes = lanes_of(sizeof(floating)), rows, columns, bad = 0
    cdef Py_ssize_t row_length = round_up(s.channels, lanes)
    cdef cyconv_tile* tiles = <cyconv_tile*>workspace
    cdef floating* values = <floating*>(workspace + table_bytes(w))
    cdef floating* strips = values + s.values
    cdef floating* sums = shared + task * s.sums if s.parts > 1 else strips + s.scratch
    grad_output += g * conv.M * conv.L
    input += g * conv.C * conv.H_in * conv.W_in
    first = part * blocks // s.parts
    for block in range(first, (part + 1) * blocks // s.parts):
        row, column = block // across * w.rows, block % across * w.columns
        rows, columns = min(w.rows, w.N * w.tile_rows - row), min(w.columns, w.tile_columns - column)
        lay_tiles(w, row, rows, column, columns, tiles)
        for t in range(ceil_div(s.channels, lanes) + ceil_div(s.filters, lanes)):
            winograd_weight_tiles(w, t, 0, s.channels, s.filters, grad_output, input, row, rows, column, columns, tiles,
                                  values, strips)
        for t in range(w.planes):
            winograd_weight_product(w.planes, t, s.filters, s.channels, rows * columns, block > first, values,
                                    sums + t * apart(s.filters * row_length))
    for t in range(s.filters if s.parts == 1 else 0):
        bad += winograd_weight_taps(w, sums + t * row_length, apart(s.filters * row_length), 0, w.C,
                                    grad_weight + (g * conv.M + t) * conv.K)
    return bad != 0


cdef bint winograd_weight_filter(const Conv* conv, const WinogradWeight* s, Py_ssize_t filter, floating* shared,
                                 floating* grad_weight) noexcept nogil:
    """The taps of one filter of all, from the sums of all parts; whether one is not finite."""
    cdef uint64_t control = flush_denormals()
    cdef const Winograd* w = &s.tiles
    cdef Py_ssize_t row_length = round_up(s.channels, lanes_of(sizeof(floating))), plane = apart(s.filters * row_length), v, p, i
    cdef floating* sums = shared + filter // conv.M * s.parts * s.sums + filter % conv.M * row_length
    cdef floating* total
    cdef const floating* part
    for v in range(w.planes):
        total = sums + v * plane
        for p in range(1, s.parts):
            part = total + p * s.sums
            for i in range(row_length):
                total[i] += part[i]
    restore_denormals(control)
    return winograd_weight_taps(w, sums, plane, 0, w.C, grad_weight + filter * conv.K)


cdef bint winograd_weight_block(const WinogradWeight* s, int threads, Py_ssize_t filters, Py_ssize_t first,
                                Py_ssize_t past, const floating* grad_output, const floating* input,
                                floating* grad_weight, Py_ssize_t filter_taps, cyconv_tile* tiles,
                                floating* workspace) noexcept nogil:
    """The taps of some filters, `filter_taps` elements apart, at channels first..past; returns whether all are finite."""
    cdef const Winograd* w = &s.tiles
    cdef Py_ssize_t all_rows = w.N * w.tile_rows, lanes = lanes_of(sizeof(floating)), channels = past - first
    cdef Py_ssize_t row, column, rows, columns, t, bad = 0
    cdef Py_ssize_t panels = ceil_div(channels, 3 * lanes)
    cdef Py_ssize_t row_length = round_up(channels, lanes)      # of the sums
    cdef floating* sums = workspace + s.values                  # [value, filter, channel]
    cdef floating* scratch = sums + s.sums
    row = 0
    while row < all_rows:
        rows = min(w.rows, all_rows - row)
        column = 0
        while column < w.tile_columns:
            columns = min(w.columns, w.tile_columns - column)
            lay_tiles(w, row, rows, column, columns, tiles)
            for t in prange(panels + ceil_div(filters, lanes), num_threads=threads, schedule="dynamic"):
                winograd_weight_panel(w, t, panels, first, channels, filters, grad_output, input, row, rows, column, columns, tiles,
                                      workspace, scratch + threadid() * s.scratch)
            for t in prange(w.planes, num_threads=threads, schedule="static"):  # sums stay with their cores
                winograd_weight_product(w.planes, t, filters, channels, rows * columns, row > 0 or column > 0,
                                        workspace, sums + t * apart(filters * row_length))
            column += columns
        row += rows
    for t in prange(filters, num_threads=threads):
        bad += winograd_weight_taps(w, sums + t * row_length, apart(filters * row_length), first, past,
                                    grad_weight + t * filter_taps)
    return bad == 0


cdef bint winograd_weight_taps(const Winograd* w, const floating* sums, Py_ssize_t plane, Py_ssize_t first, Py_ssize_t past,
                               floating* grad_weight) noexcept nogil:
    """The taps of one filter at channels first..past; whether one is not finite."""
    cdef uint64_t control = flush_denormals()
    cdef bint finite = tap_sums(sums, plane, first, past, w.C // w.phases, &w.kernel, grad_weight)
    restore_denormals(control)
    return not finite


cdef void winograd_weight_panel(const Winograd* w, Py_ssize_t task, Py_ssize_t panels, Py_ssize_t first, Py_ssize_t channels,
                                Py_ssize_t filters, const floating* grad_output, const floating* input,
                                Py_ssize_t row, Py_ssize_t rows, Py_ssize_t column, Py_ssize_t columns,
                                const cyconv_tile* tiles, floating* values, floating* strips) noexcept nogil:
    """The tiles of a panel of channels, whose vectors take turns in memory, or of a vector of filters."""
    cdef Py_ssize_t vectors = ceil_div(channels, lanes_of(sizeof(floating))), t
    if task >= panels:
        winograd_weight_tiles(w, vectors + task - panels, first, channels, filters, grad_output, input, row, rows, column, columns, tiles,
                              values, strips)
    else:
        for t in range(3 * task, min(3 * task + 3, vectors)):
            winograd_weight_tiles(w, t, first, channels, filters, grad_output, input, row, rows, column, columns, tiles, values, strips)


cdef void winograd_weight_tiles(const Winograd* w, Py_ssize_t task, Py_ssize_t first, Py_ssize_t channels,
                                Py_ssize_t filters, const floating* grad_output, const floating* input,
                                Py_ssize_t row, Py_ssize_t rows, Py_ssize_t column, Py_ssize_t columns,
                                const cyconv_tile* tiles, floating* values, floating* strips) noexcept nogil:
    """Tiles of a vector of channels, [value, panel of 3 vectors, tile, channel], or after these of filters' gradients,
    [value, panel of ROWS, tile, filter]."""
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t lanes = lanes_of(sizeof(floating)), count = rows * columns, vectors = ceil_div(channels, lanes), c
    cdef bint gradient = task >= vectors
    cdef Py_ssize_t plane = values_plane(gradient, channels, filters, count, lanes)
    if gradient:
        c = (task - vectors) * lanes
        values += w.planes * values_plane(False, channels, filters, count, lanes)
        lay_strips(w, True, grad_output, c, min(lanes, filters - c), row, rows, column, columns, strips)
        tile_values(strips, strip_length(w, columns), 1, tiles, count, &w.kernel, True,
                    values + c // ROWS * ROWS * count + c % ROWS, plane, ROWS, ROWS * count if lanes > ROWS else 0)
    else:
        c = task * lanes
        lay_strips(w, False, input, first + c, min(lanes, channels - c), row, rows, column, columns, strips)
        tile_values(strips, strip_length(w, columns), 1, tiles, count, &w.kernel, False,
                    values + c // (3 * lanes) * 3 * lanes * count + c % (3 * lanes), plane,
                    channel_panel(channels, c // (3 * lanes) * 3 * lanes, lanes), 0)
    restore_denormals(control)


cdef inline Py_ssize_t values_plane(bint gradient, Py_ssize_t channels, Py_ssize_t filters, Py_ssize_t count,
                                    Py_ssize_t lanes) noexcept nogil:
    # Elements of one value of `count` tiles' pixels, or of their gradients.
    return apart((round_up(filters, max(ROWS, lanes)) if gradient else round_up(channels, lanes)) * count)


cdef inline Py_ssize_t channel_panel(Py_ssize_t channels, Py_ssize_t c, Py_ssize_t lanes) noexcept nogil:
    # Width of the panel of channels c..: three vectors, or what is left.
    return min(3 * lanes, round_up(channels - c, lanes))


cdef void winograd_weight_product(Py_ssize_t planes, Py_ssize_t v, Py_ssize_t filters, Py_ssize_t channels,
                                  Py_ssize_t count, bint accumulate, const floating* values,
                                  floating* sums) noexcept nogil:
    """Sums of value v: (filters, channels) := or += (filters, tiles) . (tiles, channels)."""
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t lanes = lanes_of(sizeof(floating)), c, t, width
    cdef const floating* pixels = values + v * values_plane(False, channels, filters, count, lanes)
    cdef const floating* gradients = (values + planes * values_plane(False, channels, filters, count, lanes)
                                      + v * values_plane(True, channels, filters, count, lanes))
    c = 0
    while c < channels:
        width, t = channel_panel(channels, c, lanes), 0
        while t < count:
            panel_rows(gradients + t * ROWS, ROWS * count, False, <int>filters, pixels + t * width,
                       min(SUM_TILES, count - t), sums + c, round_up(channels, lanes), accumulate or t > 0,
                       <int>(width // lanes), NULL)
            t += SUM_TILES
        pixels += width * count
        c += width
    restore_denormals(control)
