# grad_weight = grad_output . im2col(input)^T, summed over the batch: the adjoint in its weight.

cdef Py_ssize_t LEAST_TASKS = 4     # for which filters are divided,
cdef Py_ssize_t LEAST_FILTERS = 96  # into blocks of at least so many

cdef Tiling tile_backward_weight(const Conv* conv, size_t itemsize) noexcept nogil:
    """Tasks: groups x blocks of filters x blocks of taps x splits of the tiles.

    Each task owns a block of grad_weight for its share of the batch. Splits have a partial sum each, added in their order;
    they are needed only where taps are too few. Where tiles are few too, filters are divided: each block makes the columns anew.
    """
    cdef Py_ssize_t wanted = tasks_wanted(conv)
    cdef Py_ssize_t budget = TILE_BYTES // itemsize
    cdef Tiling tiling = tile_positions(conv, itemsize, 1024)
    cdef Py_ssize_t tasks, most, room
    divide(conv.K, ceil_div(wanted, conv.groups), 128, &tiling.block, &tiling.blocks)
    most = max(1, budget // (tiling.images * tiling.positions))
    if tiling.block > most:
        divide(conv.K, ceil_div(conv.K, most), 1, &tiling.block, &tiling.blocks)
    tasks = conv.groups * tiling.blocks
    tiling.splits = min(ceil_div(wanted, tasks), tiling.image_blocks * tiling.tiles)
    tiling.splits = min(tiling.splits, max(1, PARTIAL_BYTES // (conv.C_out * conv.K * <Py_ssize_t>itemsize)))
    divide(conv.M, ceil_div(min(wanted, LEAST_TASKS), max(1, tasks * tiling.splits)), LEAST_FILTERS, &tiling.rows, &tiling.row_blocks)
    if tiling.row_blocks > 1:
        tiling.rows = round_up(tiling.rows, GROUP)
        tiling.row_blocks = ceil_div(conv.M, tiling.rows)
    if tiling.columns:
        tiling.columns = tiling.block * tiling.images * tiling.positions
    if tiling.gathered:
        tiling.buffer = tiling.rows * tiling.images * tiling.positions
    room = WORKSPACE_BYTES // <Py_ssize_t>itemsize - workspace_size(&tiling)  # for partial sums
    tiling.splits = min(tiling.splits, 1 + max(0, room) // max(1, conv.C_out * conv.K))
    return tiling


def conv2d_backward_weight(grad_output, input, window, groups, algorithm, grad_weight):
    """grad_weight = grad_output . im2col(input)^T, summed over the batch."""
    cdef Array dy = array_in(grad_output)   # (N, C_out, H_out, W_out)
    cdef Array x = array_in(input)          # (N, C_in, H_in, W_in)
    cdef Array dw = array_out(grad_weight)  # (C_out, C_in/groups, kernel_h, kernel_w)
    cdef Conv conv = conv_sizes(x.shape, dy.shape, c_window(window), groups)
    cdef int asked = c_algorithm(algorithm), status
    with products_guard(), nogil:
        if x.itemsize == sizeof(float):
            status = backward_weight[float](&conv, asked, <float*>dy.data, <float*>x.data, <float*>dw.data)
        else:
            status = backward_weight[double](&conv, asked, <double*>dy.data, <double*>x.data, <double*>dw.data)
    check_memory(status)


cdef int backward_weight(const Conv* conv, int algorithm, const floating* grad_output, const floating* input,
                         floating* grad_weight) noexcept nogil:
    """0, or NO_MEMORY."""
    cdef size_t weights = conv.C_out * conv.K
    cdef int done = 0
    if conv.N == 0:
        memset(grad_weight, 0, weights * sizeof(floating))
        return 0
    algorithm = choose(conv, algorithm, BACKWARD_WEIGHT, sizeof(floating))
    if algorithm == DEPTHWISE:
        done = depthwise_backward_weight(conv, grad_output, input, grad_weight)
    elif algorithm == WINOGRAD:
        done = winograd_backward_weight(conv, grad_output, input, grad_weight)
    elif algorithm == IMPLICIT:
        done = implicit_backward_weight(conv, grad_output, input, grad_weight)
    elif algorithm == DIRECT:
        done = direct_backward_weight(conv, grad_output, input, grad_weight)
    elif algorithm == DENSE:
        done = dense(conv, BACKWARD_WEIGHT, grad_output, input, <const floating*>NULL, False, grad_weight)
    if done:
        return min(done, 0)
    cdef Tiling tiling = tile_backward_weight(conv, sizeof(floating))
    cdef Py_ssize_t tasks = conv.groups * tiling.row_blocks * tiling.blocks * tiling.splits, t
    cdef int threads = team_of(conv.threads, multiply_adds(conv), tasks)
    cdef size_t size = workspace_size(&tiling)
    cdef size_t partial = (tiling.splits - 1) * weights  # the first split sums in grad_weight itself
    cdef floating* workspace = <floating*>cyconv_acquire((threads * size + partial) * sizeof(floating))
    if workspace == NULL:
        return NO_MEMORY
    if tasks == 1:  # a team of one costs most of a microsecond
        backward_weight_task(conv, &tiling, 0, grad_output, input, grad_weight, workspace + threads * size, workspace)
    else:
        for t in prange(tasks, num_threads=threads, schedule="dynamic"):
            backward_weight_task(conv, &tiling, t, grad_output, input, grad_weight, workspace + threads * size,
                                 workspace + threadid() * size)
    add_partial_sums(grad_weight, workspace + threads * size, weights, tiling.splits - 1)
    cyconv_release(workspace)
    return 0


cdef void add_partial_sums(floating* total, const floating* partial, size_t size, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t s
    cdef size_t i
    for s in range(count):
        for i in range(size):
            total[i] += partial[s * size + i]


cdef void backward_weight_task(const Conv* conv, const Tiling* tiling, Py_ssize_t task,
                               const floating* grad_output, const floating* input, floating* grad_weight,
                               floating* partial, floating* workspace) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t s = digit(&task, tiling.splits)
    cdef Py_ssize_t k0 = digit(&task, tiling.blocks) * tiling.block
    cdef Py_ssize_t m0 = digit(&task, tiling.row_blocks) * tiling.rows
    cdef Py_ssize_t m = min(tiling.rows, conv.M - m0), channel = task * conv.M + m0, g = task
    cdef Py_ssize_t k = min(tiling.block, conv.K - k0)
    cdef Py_ssize_t tiles = tiling.image_blocks * tiling.tiles
    cdef Py_ssize_t first = s * tiles // tiling.splits, past = (s + 1) * tiles // tiling.splits
    cdef Py_ssize_t tile, n0, images, l0, positions, P, lda, ldb
    cdef const floating* a
    cdef const floating* b
    cdef floating* total = grad_weight if s == 0 else partial + (s - 1) * conv.C_out * conv.K
    total += channel * conv.K + k0
    for tile in range(first, past):
        n0 = tile // tiling.tiles * tiling.images
        l0 = tile % tiling.tiles * tiling.positions
        images = min(tiling.images, conv.N - n0)
        positions = min(tiling.positions, conv.L - l0)
        a = gathered_outputs(conv, tiling, grad_output, n0, images, channel, m, l0, positions,
                             workspace + tiling.columns, &lda)
        b = columns_of(conv, tiling, input, n0, images, g, k0, k, l0, positions, workspace, &ldb)
        P = images * positions
        # (m, k) += (m, P) . (k, P)^T
        gemm(False, True, m, k, P, a, lda, b, ldb, tile > first, total, conv.K,
             workspace + tiling.columns + tiling.buffer)
    restore_denormals(control)
