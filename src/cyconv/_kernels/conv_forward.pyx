# output = weight . im2col(input) + bias.

cdef Tiling tile_forward(const Conv* conv, size_t itemsize) noexcept nogil:
    """Tasks: image blocks x tiles x groups x blocks of output channels."""
    cdef Py_ssize_t wanted = tasks_wanted(conv)
    cdef Py_ssize_t even = ceil_div(conv.N * conv.L * conv.groups, wanted)
    cdef Tiling tiling = tile_positions(conv, itemsize, max(even, MIN_POSITIONS))
    cdef Py_ssize_t tasks = tiling.image_blocks * tiling.tiles * conv.groups
    divide(conv.M, ceil_div(wanted, max(1, tasks)), 64, &tiling.block, &tiling.blocks)
    if tiling.gathered:
        tiling.buffer = tiling.block * tiling.images * tiling.positions
    return tiling


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
    if done:
        return min(done, 0)
    cdef Tiling tiling = tile_forward(conv, sizeof(floating))
    cdef Py_ssize_t tasks = tiling.image_blocks * tiling.tiles * conv.groups * tiling.blocks, t
    cdef int threads = team_of(conv.threads, multiply_adds(conv), tasks)
    cdef size_t size = workspace_size(&tiling)
    cdef floating* workspace = <floating*>cyconv_acquire(threads * size * sizeof(floating))
    if workspace == NULL:
        return NO_MEMORY
    if tasks == 1:  # a team of one costs most of a microsecond
        forward_task(conv, &tiling, 0, input, weight, bias, relu, output, workspace)
    else:
        for t in prange(tasks, num_threads=threads, schedule="dynamic"):
            forward_task(conv, &tiling, t, input, weight, bias, relu, output, workspace + threadid() * size)
    cyconv_release(workspace)
    return 0


cdef void forward_task(const Conv* conv, const Tiling* tiling, Py_ssize_t task, const floating* input,
                       const floating* weight, const floating* bias, bint relu, floating* output,
                       floating* workspace) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t m0 = digit(&task, tiling.blocks) * tiling.block
    cdef Py_ssize_t g = digit(&task, conv.groups)
    cdef Py_ssize_t l0 = digit(&task, tiling.tiles) * tiling.positions
    cdef Py_ssize_t n0 = task * tiling.images
    cdef Py_ssize_t m = min(tiling.block, conv.M - m0)
    cdef Py_ssize_t images = min(tiling.images, conv.N - n0)
    cdef Py_ssize_t positions = min(tiling.positions, conv.L - l0)
    cdef Py_ssize_t P = images * positions
    cdef Py_ssize_t channel = g * conv.M + m0  # first output channel of this task
    cdef Py_ssize_t k0, k, ldb, ldc = conv.L
    cdef const floating* b
    cdef floating* c = output + (n0 * conv.C_out + channel) * conv.L + l0
    if tiling.gathered:
        c = workspace + tiling.columns
        ldc = P
    k0 = 0
    while k0 < conv.K:
        k = min(tiling.taps, conv.K - k0)
        b = columns_of(conv, tiling, input, n0, images, g, k0, k, l0, positions, workspace, &ldb)
        # (m, P) = (m, k) . (k, P)
        gemm(False, False, m, P, k, weight + channel * conv.K + k0, conv.K, b, ldb, k0 > 0, c, ldc,
             workspace + tiling.columns + tiling.buffer)
        k0 += k
    if tiling.gathered:
        scatter(conv, c, bias, relu, channel, m, n0, images, l0, positions, output)
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


cdef void scatter(const Conv* conv, const floating* product, const floating* bias, bint relu, Py_ssize_t channel,
                  Py_ssize_t m, Py_ssize_t n0, Py_ssize_t images, Py_ssize_t l0, Py_ssize_t positions,
                  floating* output) noexcept nogil:
    """output[n, channel + o, l] = product[o, (n, l)] + bias[channel + o], max(0, that) with `relu`."""
    cdef Py_ssize_t n, o, p
    cdef floating offset
    cdef floating* row
    for n in range(images):
        for o in range(m):
            row = output + ((n0 + n) * conv.C_out + channel + o) * conv.L + l0
            offset = bias[channel + o] if bias != NULL else 0
            for p in range(positions):
                row[p] = product[p] + offset
            if relu:
                rectify(row, positions)
            product += images * positions
        product += (1 - m * images) * positions
