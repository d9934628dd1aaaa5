# Convolution as matrix products of tiles: im2col of one tile at a time, multiplied while in cache. What the
# three passes share; each has a room of its own, with its door, its core on plain pointers, and its task.
#
# A tile is some output positions of one image, or all positions of several small images. Tiles and
# tasks depend on the shapes alone, never on the number of threads: same bits for any team.

# Workspace of one thread, with what all share, stays within this.
cdef Py_ssize_t WORKSPACE_BYTES = 8 << 20
# Columns of one tile stay within this, about one core's L2 cache.
cdef Py_ssize_t TILE_BYTES = 1 << 20
# Outputs of several images that are copied to or from a buffer.
cdef Py_ssize_t GATHERED_BYTES = 7 << 19
# Below so many columns a product reads the other matrix too often for what it does with it.
cdef Py_ssize_t MIN_POSITIONS = 192
# Divide work into at least so many tasks, unless a task would then have too little to do.
cdef Py_ssize_t TASKS = 16
cdef double TASK_WORK = 1 << 20
# Partial sums of the weight's gradient, of all tasks together.
cdef Py_ssize_t PARTIAL_BYTES = 13 << 18

# Columns that blocks of output channels share: most positions of a tile, as many as gemm takes at once; bytes of all
# tiles together; least multiply-adds.
cdef Py_ssize_t SHARED_POSITIONS = 288
cdef Py_ssize_t SHARED_BYTES = 4 << 20
cdef double SHARED_WORK = 8 << 20


cdef struct Tiling:
    Py_ssize_t images, positions   # of one tile; more than one image only with all their positions
    Py_ssize_t taps                # rows of columns in one product
    Py_ssize_t depth               # and in one pass over all tiles: some products, or all
    Py_ssize_t tiles               # per image block
    Py_ssize_t image_blocks
    Py_ssize_t block, blocks       # channels or taps of one task, and how many tasks that makes
    Py_ssize_t rows, row_blocks    # input rows of one task (gradient of the input), or output channels (of the weight)
    Py_ssize_t splits              # partial sums (gradient of the weight)
    bint gathered                  # output planes are copied to and from a buffer of the tile
    size_t panels                  # elements of one product's columns as panels, where blocks share them; or 0
    size_t shared                  # and of all that one pass needs, for all threads together
    Strip strip                    # the rows under a tile, where columns are read from lines
    Py_ssize_t channel             # elements between the lines of two channels
    size_t table                   # bytes of the distances of taps along them, shared; 0 where columns are a matrix
    # elements of workspace for each thread: columns or lines, ...
    size_t columns, buffer, scratch


cdef Tiling tile_positions(const Conv* conv, size_t itemsize, Py_ssize_t most_positions) noexcept nogil:
    """Images, positions and taps of a tile, so that taps * images * positions fits TILE_BYTES."""
    cdef Py_ssize_t budget = TILE_BYTES // itemsize
    return tiles_of(conv, itemsize, max(min(MIN_POSITIONS, budget // conv.M), min(budget // conv.K, most_positions), 1))


cdef Tiling tiles_of(const Conv* conv, size_t itemsize, Py_ssize_t wanted) noexcept nogil:
    """Tiles of at most about `wanted` positions, and as many taps as fit TILE_BYTES."""
    cdef Py_ssize_t budget = TILE_BYTES // itemsize, lanes = lanes_of(itemsize), gathered
    cdef Tiling tiling
    memset(&tiling, 0, sizeof(Tiling))
    tiling.scratch = gemm_scratch(itemsize)
    if conv.L <= wanted:
        gathered = GATHERED_BYTES // (conv.M * conv.L * <Py_ssize_t>itemsize)
        tiling.images = even_tile(max(conv.N, 1) * conv.L, conv.L, wanted, lanes) // conv.L
        tiling.images = even_part(max(conv.N, 1), min(tiling.images, max(1, gathered)))
        tiling.positions = conv.L
        tiling.tiles = 1
    else:
        tiling.images = 1
        tiling.positions = min(conv.L, even_tile(conv.L, 16, wanted, lanes))
        tiling.tiles = ceil_div(conv.L, tiling.positions)
    tiling.image_blocks = ceil_div(conv.N, tiling.images)
    tiling.taps = min(conv.K, max(1, budget // (tiling.images * tiling.positions)))
    tiling.depth = conv.K
    tiling.gathered = tiling.images > 1 or conv.L > INT_MAX
    tiling.row_blocks = tiling.splits = tiling.blocks = 1
    tiling.rows = conv.H_in
    if not conv.pointwise or tiling.images > 1 or conv.L > INT_MAX:
        tiling.columns = tiling.taps * tiling.images * tiling.positions
    return tiling


cdef Py_ssize_t even_tile(Py_ssize_t size, Py_ssize_t unit, Py_ssize_t wanted, Py_ssize_t lanes) noexcept nogil:
    """Positions of a tile, whole units, near the `wanted`, with which all `size` take the least time in products."""
    cdef Py_ssize_t at_once = 3 * GEMM_PANELS * lanes, most = min(wanted * 5 // 4, at_once + lanes, size + unit - 1)
    cdef Py_ssize_t best = max(1, wanted * 3 // 4 // unit) * unit, least = PY_SSIZE_T_MAX, positions = best, cost
    if wanted > at_once:  # gemm divides them
        return round_up(even_part(size, wanted), unit)
    while positions <= most:
        cost = size // positions * product_time(positions, lanes) + product_time(size % positions, lanes)
        if cost <= least:
            best, least = positions, cost
        positions += unit
    return best


cdef inline Py_ssize_t product_time(Py_ssize_t positions, Py_ssize_t lanes) noexcept nogil:
    # In quarters of a vector: three vectors share a load, one or two take a quarter longer; some more for each tile.
    cdef Py_ssize_t vectors = ceil_div(positions % (3 * lanes), lanes)
    return positions // (3 * lanes) * 12 + min(12, 5 * vectors) + (6 if positions else 0)


cdef inline Py_ssize_t tiles_in(const Conv* conv, const Tiling* tiling) noexcept nogil:
    return tiling.image_blocks * tiling.tiles * conv.groups


cdef Py_ssize_t tasks_wanted(const Conv* conv) noexcept nogil:
    return <Py_ssize_t>max(1, min(<double>TASKS, multiply_adds(conv) / TASK_WORK))


cdef inline size_t workspace_size(const Tiling* tiling) noexcept nogil:
    """Elements for one thread, in whole cache lines."""
    return round_up(tiling.columns + tiling.buffer + tiling.scratch, 64)


cdef const floating* columns_of(const Conv* conv, const Tiling* tiling, const floating* input,
                                Py_ssize_t n0, Py_ssize_t images, Py_ssize_t g, Py_ssize_t k0, Py_ssize_t k,
                                Py_ssize_t l0, Py_ssize_t positions, floating* columns,
                                Py_ssize_t* row_length) noexcept nogil:
    """Taps k0..k0+k at the tile's positions, (k, images*positions): made in `columns`, or the image itself."""
    cdef Py_ssize_t plane = conv.H_in * conv.W_in, n
    cdef const floating* image = input + (n0 * conv.C_in + g * conv.C) * plane
    if tiling.columns == 0:
        row_length[0] = plane
        return image + k0 * plane + l0
    row_length[0] = images * positions
    for n in range(images):
        im2col_tile(image + n * conv.C_in * plane, conv.H_in, conv.W_in, conv.W_out, &conv.window,
                    k0, k0 + k, l0, l0 + positions, columns + n * positions, images * positions)
    return columns


cdef const floating* gathered_outputs(const Conv* conv, const Tiling* tiling, const floating* grad_output,
                                      Py_ssize_t n0, Py_ssize_t images, Py_ssize_t channel, Py_ssize_t m,
                                      Py_ssize_t l0, Py_ssize_t positions, floating* buffer,
                                      Py_ssize_t* row_length) noexcept nogil:
    """`m` channels of grad_output at the tile's positions, (m, images*positions): a copy, or in place."""
    cdef Py_ssize_t n, o
    if not tiling.gathered:
        row_length[0] = conv.L
        return grad_output + (n0 * conv.C_out + channel) * conv.L + l0
    row_length[0] = images * positions
    for o in range(m):
        for n in range(images):
            memcpy(buffer + (o * images + n) * positions,
                   grad_output + ((n0 + n) * conv.C_out + channel + o) * conv.L + l0,
                   positions * sizeof(floating))
    return buffer
