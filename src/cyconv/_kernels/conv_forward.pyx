# output = weight . im2col(input) + bias.

cdef Py_ssize_t TRANSPOSED_ROWS = 64  # of a weight that is stored transposed, that a task makes
cdef Py_ssize_t LEAST_OUTPUTS = 32    # channels of a block

cdef Tiling tile_forward(const Conv* conv, size_t itemsize, size_t weights) noexcept nogil:
    """Tasks: image blocks x tiles x groups x blocks of output channels. Blocks of one tile share its columns.

    `weights`: bytes of workspace for the weight, where it is transposed first.
    """
    cdef Py_ssize_t wanted = tasks_wanted(conv)
    cdef Py_ssize_t even = ceil_div(conv.N * conv.L * conv.groups, wanted)
    cdef Tiling tiling = tile_positions(conv, itemsize, max(even, MIN_POSITIONS))
    use_lines(conv, itemsize, &tiling)
    divide_outputs(conv, wanted, &tiling)
    # less work does not pay for a region of two loops
    if CYCONV_PANELS and multiply_adds(conv) >= SHARED_WORK and tiling.blocks > 1 and tiling.images * tiling.positions <= SHARED_POSITIONS:
        share_columns(conv, itemsize, weights, &tiling)
    tiling.buffer = output_buffer(&tiling)
    return tiling


cdef inline size_t output_buffer(const Tiling* tiling) noexcept nogil:
    return tiling.block * tiling.images * tiling.positions if tiling.gathered else 0


cdef void divide_outputs(const Conv* conv, Py_ssize_t wanted, Tiling* tiling) noexcept nogil:
    """Divide output channels into blocks, for `wanted` tasks or a quarter fewer: so many as two threads divide evenly."""
    cdef Py_ssize_t most = max(1, min(ceil_div(wanted, max(1, tiles_in(conv, tiling))), conv.M // LEAST_OUTPUTS))
    cdef Py_ssize_t n, block, rows, least = PY_SSIZE_T_MAX
    for n in range(most, most * 3 // 4 - 1, -1):
        block = conv.M if n <= 1 else round_up(ceil_div(conv.M, n), ROWS)
        rows = block * ceil_div(ceil_div(conv.M, block), 2)  # of the thread that has more
        if rows < least:
            least, tiling.block, tiling.blocks = rows, block, ceil_div(conv.M, block)


cdef void share_columns(const Conv* conv, size_t itemsize, size_t weights, Tiling* tiling) noexcept nogil:
    """Make the columns of a tile once for all its blocks, as panels: those of some products at a time. Or leave the tiling as
    it is, where those of one product are too many."""
    cdef Tiling wide = tiles_of(conv, itemsize, SHARED_POSITIONS), s = tiling[0]
    cdef Py_ssize_t tasks = tiles_in(conv, tiling) * tiling.blocks, products, P, tiles, room
    cdef bint lines
    use_lines(conv, itemsize, &wide)
    P = wide.images * wide.positions
    # outputs of a block are about TILE_BYTES
    divide_outputs(conv, max(TASKS, tiles_in(conv, &wide) * ceil_div(conv.M * P * itemsize, TILE_BYTES)), &wide)
    if tiles_in(conv, &wide) * wide.blocks >= min(TASKS, tasks):  # more blocks of fewer tiles cost little now
        s = wide
    P, tiles = s.images * s.positions, tiles_in(conv, &s)
    lines = s.table > 0 and not conv.pointwise
    s.scratch = shared_scratch(itemsize)
    if not lines:
        s.taps = even_part(conv.K, PANEL_DEPTH)
        s.columns = s.taps * P if s.columns else 0
    room = shared_room(&s, weights, itemsize)
    if not lines and tiles * panels_size(P, s.taps, itemsize) * <Py_ssize_t>itemsize > room:
        s.taps = even_part(conv.K, PANEL_DEPTH // 2)
    products = ceil_div(conv.K, s.taps)
    s.panels = round_up(panels_size(P, s.taps, itemsize), 16)  # whole lines
    if tiles * <Py_ssize_t>(s.panels * itemsize) > room:
        return
    products = even_part(products, room // <Py_ssize_t>(tiles * s.panels * itemsize))
    s.depth = products * s.taps
    s.shared = round_up(tiles * products * s.panels, 64)
    tiling[0] = s


cdef inline Py_ssize_t shared_room(const Tiling* tiling, size_t weights, size_t itemsize) noexcept nogil:
    # Bytes for panels beside what one thread has.
    cdef Py_ssize_t own = weights + tiling.table + (workspace_size(tiling) + output_buffer(tiling)) * itemsize
    return min(SHARED_BYTES, WORKSPACE_BYTES - own)


def conv2d_forward(input, weight, bias, window, groups, algorithm, relu, output):
    """output = weight . im2col(input) + bias, one product for each group and tile; with `relu` max(0, that)."""
    cdef Array x = array_in(input)     # (N, C_in, H_in, W_in)
    cdef Array w = array_in(weight)    # (C_out, C_in/groups, kernel_h, kernel_w)
    cdef Array b = array_in(bias)      # (C_out,) or None
    cdef Array y = array_out(output)   # (N, C_out, H_out, W_out)
    cdef Conv conv = conv_sizes(x.shape, y.shape, c_window(window), groups)
    cdef int asked = c_algorithm(algorithm), status
    cdef bint rectified = relu
    with products_guard(), nogil:
        if x.itemsize == sizeof(float):
            status = forward[float](&conv, asked, <float*>x.data, <float*>w.data, <float*>b.data, rectified,
                                    <float*>y.data)
        else:
            status = forward[double](&conv, asked, <double*>x.data, <double*>w.data, <double*>b.data, rectified,
                                     <double*>y.data)
    check_memory(status)


cdef int forward(const Conv* conv, int algorithm, const floating* input, const floating* weight,
                 const floating* bias, bint relu, floating* output) noexcept nogil:
    """0, or NO_MEMORY. `bias` may be NULL."""
    cdef int done = 0
    if conv.N == 0:
        return 0
    algorithm = choose(conv, algorithm, FORWARD, sizeof(floating))
    if algorithm == DEPTHWISE:
        done = depthwise(conv, False, input, weight, bias, relu, output)
    elif algorithm == WINOGRAD:
        done = winograd(conv, False, input, weight, bias, relu, output)
    elif algorithm == IMPLICIT:
        done = implicit(conv, False, input, weight, bias, relu, output)
    elif algorithm == DIRECT:
        done = direct(conv, False, input, weight, bias, relu, output)
    elif algorithm == DENSE:
        done = dense(conv, FORWARD, input, weight, bias, relu, output)
    if done:
        return min(done, 0)
    return forward_columns(conv, input, weight, False, bias, relu, output)


cdef int forward_columns(const Conv* conv, const floating* input, const floating* weight, bint transposed, const floating* bias,
                         bint relu, floating* output) noexcept nogil:
    """The same as products of columns. With `transposed` the weight of each group is stored (K, M), and (M, K) is made first."""
    cdef Py_ssize_t weights = transposed_size(conv) if transposed else 0
    cdef Tiling tiling = tile_forward(conv, sizeof(floating), weights * sizeof(floating))
    cdef Py_ssize_t blocks = ceil_div(conv.M, TRANSPOSED_ROWS)
    cdef Py_ssize_t tasks = tiles_in(conv, &tiling) * tiling.blocks, panels = 0, k0 = 0, t
    cdef int threads = team_of(conv.threads, multiply_adds(conv), tasks)
    cdef size_t size = workspace_size(&tiling)
    cdef char* table = <char*>cyconv_acquire(tiling.table + (weights + tiling.shared + threads * size) * sizeof(floating))
    cdef floating* rows = <floating*>(table + tiling.table)
    cdef floating* workspace = rows + weights
    if table == NULL:
        return NO_MEMORY
    if tiling.table:
        lay_taps_of(conv, &tiling, <Py_ssize_t*>table)
    if transposed:
        if threads == 1:
            for t in range(conv.groups * blocks):
                transpose_rows(conv, t, weight, rows)
        else:
            for t in prange(conv.groups * blocks, num_threads=threads):
                transpose_rows(conv, t, weight, rows)
        weight = rows
    cdef floating* own = workspace + tiling.shared  # each thread's, behind what they share
    if tasks == 1:  # a team of one costs most of a microsecond
        forward_task(conv, &tiling, 0, 0, input, weight, bias, relu, output, <Py_ssize_t*>table, workspace, own)
    elif tiling.shared:
        while k0 < conv.K:
            panels = tiles_in(conv, &tiling) * products_of(conv, &tiling, k0)
            for t in prange(panels, num_threads=threads, schedule="dynamic"):
                panels_task(conv, &tiling, t, k0, input, <Py_ssize_t*>table, workspace, own + threadid() * size)
            for t in prange(tasks, num_threads=threads, schedule="dynamic"):
                forward_task(conv, &tiling, t, k0, input, weight, bias, relu, output, <Py_ssize_t*>table, workspace,
                             own + threadid() * size)
            k0 += tiling.depth
    else:
        for t in prange(tasks, num_threads=threads, schedule="dynamic"):
            forward_task(conv, &tiling, t, 0, input, weight, bias, relu, output, <Py_ssize_t*>table, workspace,
                             own + threadid() * size)
    cyconv_release(table)
    return 0


cdef inline size_t transposed_size(const Conv* conv) noexcept nogil:
    # Elements of the weight of all groups, in whole cache lines.
    return round_up(conv.C_out * conv.K, 64)


cdef void transpose_rows(const Conv* conv, Py_ssize_t task, const floating* weight, floating* transposed) noexcept nogil:
    """Some rows of the weight (M, K) of one group, from (K, M)."""
    cdef Py_ssize_t m0 = digit(&task, ceil_div(conv.M, TRANSPOSED_ROWS)) * TRANSPOSED_ROWS
    transpose(weight + task * conv.M * conv.K + m0, conv.M, conv.K, min(TRANSPOSED_ROWS, conv.M - m0), conv.K,
              transposed + (task * conv.M + m0) * conv.K)


cdef inline Py_ssize_t products_of(const Conv* conv, const Tiling* tiling, Py_ssize_t k0) noexcept nogil:
    """Products of one task in the pass that begins with tap k0."""
    return ceil_div(min(tiling.depth, conv.K - k0), tiling.taps)


cdef void panels_task(const Conv* conv, const Tiling* tiling, Py_ssize_t task, Py_ssize_t k0, const floating* input,
                      const Py_ssize_t* distance, floating* panels, floating* workspace) noexcept nogil:
    """The columns of one product as panels, for every block of output channels."""
    cdef floating* packed = panels + task * tiling.panels
    cdef Py_ssize_t tap = k0 + digit(&task, products_of(conv, tiling, k0)) * tiling.taps
    cdef Py_ssize_t g = digit(&task, conv.groups)
    cdef Py_ssize_t l0 = digit(&task, tiling.tiles) * tiling.positions
    cdef Py_ssize_t n0 = task * tiling.images
    cdef Py_ssize_t images = min(tiling.images, conv.N - n0)
    cdef Py_ssize_t positions = min(tiling.positions, conv.L - l0)
    cdef Py_ssize_t k = min(tiling.taps, conv.K - tap), ldb
    cdef cyconv_columns columns
    cdef const floating* b
    if tiling.table:
        b = lay_lines(conv, tiling, input, n0, images, g, tap, k, l0, distance, workspace, &columns)
        pack_columns_of(b, &columns, images * positions, k, packed)
    else:
        b = columns_of(conv, tiling, input, n0, images, g, tap, k, l0, positions, workspace, &ldb)
        pack_panels(b, ldb, images * positions, k, packed)


cdef void forward_task(const Conv* conv, const Tiling* tiling, Py_ssize_t task, Py_ssize_t k0, const floating* input,
                       const floating* weight, const floating* bias, bint relu, floating* output,
                       const Py_ssize_t* distance, const floating* panels, floating* workspace) noexcept nogil:
    """The outputs of one task: their products with the taps of the pass that begins with tap k0."""
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t m0 = digit(&task, tiling.blocks) * tiling.block
    cdef Py_ssize_t tile = task
    cdef Py_ssize_t g = digit(&task, conv.groups)
    cdef Py_ssize_t l0 = digit(&task, tiling.tiles) * tiling.positions
    cdef Py_ssize_t n0 = task * tiling.images
    cdef Py_ssize_t m = min(tiling.block, conv.M - m0)
    cdef Py_ssize_t images = min(tiling.images, conv.N - n0)
    cdef Py_ssize_t positions = min(tiling.positions, conv.L - l0)
    cdef Py_ssize_t P = images * positions
    cdef Py_ssize_t channel = g * conv.M + m0  # first output channel of this task
    cdef Py_ssize_t first = k0, past = min(k0 + tiling.depth, conv.K), k, ldb, ldc = conv.L
    cdef bint accumulate
    cdef cyconv_columns columns
    cdef const floating* a
    cdef const floating* b
    cdef floating* c = output + (n0 * conv.C_out + channel) * conv.L + l0
    cdef floating* scratch = workspace + tiling.columns + tiling.buffer
    if tiling.gathered:
        c = workspace + tiling.columns
        ldc = P
    panels += tile * products_of(conv, tiling, k0) * tiling.panels
    while k0 < past:
        k = min(tiling.taps, past - k0)
        a = weight + channel * conv.K + k0
        accumulate = k0 > (first if tiling.gathered else 0)
        # (m, P) = (m, k) . (k, P)
        if tiling.shared:
            panels_gemm(m, P, k, a, conv.K, panels, accumulate, c, ldc, scratch)
            panels += tiling.panels
        elif tiling.table:
            b = lay_lines(conv, tiling, input, n0, images, g, k0, k, l0, distance, workspace, &columns)
            columns_gemm(m, P, k, a, conv.K, b, &columns, accumulate, c, ldc, scratch)
        else:
            b = columns_of(conv, tiling, input, n0, images, g, k0, k, l0, positions, workspace, &ldb)
            gemm(False, False, m, P, k, a, conv.K, b, ldb, accumulate, c, ldc, scratch)
        k0 += k
    if past < conv.K:  # another pass ends the sums
        bias, relu = NULL, False
    if tiling.gathered:
        scatter(conv, c, bias, relu, first > 0, channel, m, n0, images, l0, positions, output)
    elif bias != NULL or relu:
        finish_rows(c, ldc, bias + channel if bias != NULL else NULL, relu, m, P)
    restore_denormals(control)


cdef void finish_rows(floating* output, Py_ssize_t row_length, const floating* bias, bint relu, Py_ssize_t m,
                      Py_ssize_t P) noexcept nogil:
    """output[o, p] += bias[o], then max(0, that) with `relu`; bias may be NULL."""
    cdef Py_ssize_t o, p
    cdef floating* row
    for o in range(m):
        row = output + o * row_length
        if bias != NULL:
            for p in range(P):
                row[p] += bias[o]
        if relu:
            rectify(row, P)


cdef void scatter(const Conv* conv, const floating* product, const floating* bias, bint relu, bint accumulate,
                  Py_ssize_t channel, Py_ssize_t m, Py_ssize_t n0, Py_ssize_t images, Py_ssize_t l0,
                  Py_ssize_t positions, floating* output) noexcept nogil:
    """output[n, channel + o, l] = product[o, (n, l)] + bias[channel + o], max(0, that) with `relu`.

    With `accumulate` that is added to what an earlier pass left.
    """
    cdef Py_ssize_t n, o, p
    cdef floating offset
    cdef floating* row
    for n in range(images):
        for o in range(m):
            row = output + ((n0 + n) * conv.C_out + channel + o) * conv.L + l0
            offset = bias[channel + o] if bias != NULL else 0
            if accumulate:
                for p in range(positions):
                    row[p] += product[p] + offset
            else:
                for p in range(positions):
                    row[p] = product[p] + offset
            if relu:
                rectify(row, positions)
            product += images * positions
        product += (1 - m * images) * positions
