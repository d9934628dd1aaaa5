# Convolution as matrix products of tiles: im2col of one tile at a time, multiplied while in cache.
#
# A tile is some output positions of one image, or all positions of several small images. Tiles and
# tasks depend on the shapes alone, never on the number of threads: same bits for any team.

# Columns of one tile stay within this, about one core's L2 cache.
cdef Py_ssize_t TILE_BYTES = 1 << 20
# Below so many columns a product spends its time on packing the other matrix.
cdef Py_ssize_t MIN_POSITIONS = 192
# Divide work into at least so many tasks, unless a task would then have too little to do.
cdef Py_ssize_t TASKS = 8
cdef double TASK_WORK = 1 << 20
# Partial sums of the weight's gradient, of all tasks together.
cdef Py_ssize_t PARTIAL_BYTES = 4 << 20


cdef struct Conv:
    # Sizes of one convolution; C, M and K are those of one group.
    Py_ssize_t N, C_in, H_in, W_in, C_out, H_out, W_out, groups
    Py_ssize_t C, M, K      # input channels, output channels, taps C*kernel_h*kernel_w
    Py_ssize_t L            # output positions H_out*W_out
    bint direct             # 1x1, stride 1, unpadded: the image is its own columns
    Window window


cdef struct Tiling:
    Py_ssize_t images, positions   # of one tile; more than one image only with all their positions
    Py_ssize_t taps                # rows of columns in one product
    Py_ssize_t tiles               # per image block
    Py_ssize_t image_blocks
    Py_ssize_t block, blocks       # channels or taps of one task, and how many tasks that makes
    Py_ssize_t rows, row_blocks    # input rows of one task (gradient of the input)
    Py_ssize_t splits              # partial sums (gradient of the weight)
    bint gathered                  # output planes are copied to and from a buffer of the tile
    # elements of workspace for each thread
    size_t columns, buffer, scratch


cdef Conv conv_sizes(tuple image_shape, tuple output_shape, Window window, Py_ssize_t groups):
    """Sizes from the shapes on the input's side and on the output's."""
    cdef Conv conv
    conv.N, conv.C_in, conv.H_in, conv.W_in = image_shape
    conv.N, conv.C_out, conv.H_out, conv.W_out = output_shape
    conv.groups = groups
    conv.C = conv.C_in // groups
    conv.M = conv.C_out // groups
    conv.K = conv.C * window.kernel_h * window.kernel_w
    conv.L = conv.H_out * conv.W_out
    conv.direct = (window.kernel_h == 1 and window.kernel_w == 1 and window.stride_h == 1
                   and window.stride_w == 1 and conv.H_in == conv.H_out and conv.W_in == conv.W_out
                   and window.pad_top == 0 and window.pad_left == 0)
    conv.window = window
    return conv


cdef Tiling tile_positions(const Conv* conv, size_t itemsize, Py_ssize_t most_positions) noexcept nogil:
    """Images, positions and taps of a tile, so that taps * images * positions fits TILE_BYTES."""
    cdef Tiling tiling
    cdef Py_ssize_t budget = TILE_BYTES // itemsize
    cdef Py_ssize_t wanted = max(min(MIN_POSITIONS, budget // conv.M), min(budget // conv.K, most_positions), 1)
    memset(&tiling, 0, sizeof(Tiling))
    tiling.scratch = gemm_scratch(itemsize)
    if conv.L <= wanted:
        tiling.images = min(max(conv.N, 1), wanted // conv.L)
        tiling.images = ceil_div(conv.N, ceil_div(max(conv.N, 1), tiling.images))
        tiling.images = max(tiling.images, 1)
        tiling.positions = conv.L
        tiling.tiles = 1
    else:
        tiling.images = 1
        tiling.positions = min(conv.L, round_up(ceil_div(conv.L, ceil_div(conv.L, wanted)), 16))
        tiling.tiles = ceil_div(conv.L, tiling.positions)
    tiling.image_blocks = ceil_div(conv.N, tiling.images)
    tiling.taps = min(conv.K, max(1, budget // (tiling.images * tiling.positions)))
    tiling.gathered = tiling.images > 1 or conv.L > INT_MAX
    tiling.row_blocks = tiling.splits = tiling.blocks = 1
    tiling.rows = conv.H_in
    if not conv.direct or tiling.images > 1 or conv.L > INT_MAX:
        tiling.columns = tiling.taps * tiling.images * tiling.positions
    return tiling


cdef Py_ssize_t tasks_wanted(const Conv* conv) noexcept nogil:
    cdef double work = <double>conv.N * conv.C_out * conv.K * conv.L
    return <Py_ssize_t>max(1, min(<double>TASKS, work / TASK_WORK))


cdef void divide(Py_ssize_t size, Py_ssize_t wanted, Py_ssize_t least, Py_ssize_t* block,
                 Py_ssize_t* blocks) noexcept nogil:
    """Divide `size` into about `wanted` blocks, none smaller than `least`."""
    blocks[0] = max(1, min(wanted, size // max(1, least)))
    block[0] = ceil_div(size, blocks[0])
    blocks[0] = ceil_div(size, block[0])


# ---------------------------------------------------------------- forward


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


def conv2d_forward(input, weight, bias, window, groups, algorithm, output):
    """output = weight . im2col(input) + bias, one product for each group and tile."""
    cdef Conv conv = conv_sizes(input.shape, output.shape, c_window(window), groups)
    cdef int chosen = choose(&conv, algorithm, FORWARD, input.itemsize)
    with products_guard():
        if input.itemsize == sizeof(float):
            forward[float](&conv, chosen, input, weight, bias, output)
        else:
            forward[double](&conv, chosen, input, weight, bias, output)


cdef int forward(const Conv* conv, int algorithm,
                 const floating[:, :, :, ::1] input,   # IN (N, C_in, H_in, W_in)
                 const floating[:, :, :, ::1] weight,  # IN (C_out, C_in/groups, kernel_h, kernel_w)
                 const floating[::1] bias,             # IN (C_out,) or None
                 floating[:, :, :, ::1] output,        # OUT (N, C_out, H_out, W_out)
                 ) except -1:
    if conv.N == 0:
        return 0
    cdef const floating* bias_ = NULL
    if bias is not None:
        bias_ = &bias[0]
    if algorithm == DEPTHWISE and depthwise(conv, False, &input[0, 0, 0, 0], &weight[0, 0, 0, 0], bias_,
                                            &output[0, 0, 0, 0]):
        return 0
    if algorithm == WINOGRAD and winograd(conv, False, &input[0, 0, 0, 0], &weight[0, 0, 0, 0], bias_,
                                          &output[0, 0, 0, 0]):
        return 0
    cdef Tiling tiling = tile_forward(conv, sizeof(floating))
    cdef Py_ssize_t tasks = tiling.image_blocks * tiling.tiles * conv.groups * tiling.blocks, t
    cdef int threads = team(<double>conv.N * conv.C_out * conv.K * conv.L, tasks)
    cdef size_t size = round_up(tiling.columns + tiling.buffer + tiling.scratch, 64)
    cdef floating* workspace = <floating*>acquire(threads * size * sizeof(floating))
    for t in prange(tasks, num_threads=threads, schedule="dynamic", nogil=True):
        forward_task(conv, &tiling, t, &input[0, 0, 0, 0], &weight[0, 0, 0, 0], bias_, &output[0, 0, 0, 0],
                     workspace + threadid() * size)
    cyconv_release(workspace)
    return 0


cdef void forward_task(const Conv* conv, const Tiling* tiling, Py_ssize_t task, const floating* input,
                       const floating* weight, const floating* bias, floating* output,
                       floating* workspace) noexcept nogil:
    cdef Py_ssize_t m0 = task % tiling.blocks * tiling.block
    cdef Py_ssize_t g = task // tiling.blocks % conv.groups
    cdef Py_ssize_t l0 = task // (tiling.blocks * conv.groups) % tiling.tiles * tiling.positions
    cdef Py_ssize_t n0 = task // (tiling.blocks * conv.groups * tiling.tiles) * tiling.images
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
        scatter(conv, c, bias, channel, m, n0, images, l0, positions, output)
    elif bias != NULL:
        add_bias(c, ldc, bias + channel, m, P)


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


cdef void add_bias(floating* output, Py_ssize_t row_length, const floating* bias, Py_ssize_t m,
                   Py_ssize_t P) noexcept nogil:
    cdef Py_ssize_t o, p
    for o in range(m):
        for p in range(P):
            output[o * row_length + p] += bias[o]


cdef void scatter(const Conv* conv, const floating* product, const floating* bias, Py_ssize_t channel,
                  Py_ssize_t m, Py_ssize_t n0, Py_ssize_t images, Py_ssize_t l0, Py_ssize_t positions,
                  floating* output) noexcept nogil:
    """output[n, channel + o, l] = product[o, (n, l)] + bias[channel + o]."""
    cdef Py_ssize_t n, o, p
    cdef floating offset
    cdef floating* row
    for n in range(images):
        for o in range(m):
            row = output + ((n0 + n) * conv.C_out + channel + o) * conv.L + l0
            offset = bias[channel + o] if bias != NULL else 0
            for p in range(positions):
                row[p] = product[p] + offset
            product += images * positions
        product += (1 - m * images) * positions


cdef const floating* gathered_outputs(const Conv* conv, const Tiling* tiling, const floating* grad_output,
                                      Py_ssize_t n0, Py_ssize_t images, Py_ssize_t channel, Py_ssize_t l0,
                                      Py_ssize_t positions, floating* buffer, Py_ssize_t* row_length) noexcept nogil:
    """The group's channels of grad_output at the tile's positions, (M, images*positions): a copy, or in place."""
    cdef Py_ssize_t n, o
    if not tiling.gathered:
        row_length[0] = conv.L
        return grad_output + (n0 * conv.C_out + channel) * conv.L + l0
    row_length[0] = images * positions
    for o in range(conv.M):
        for n in range(images):
            memcpy(buffer + (o * images + n) * positions,
                   grad_output + ((n0 + n) * conv.C_out + channel + o) * conv.L + l0,
                   positions * sizeof(floating))
    return buffer


# ---------------------------------------------------------------- gradient of the input


cdef Tiling tile_backward_input(const Conv* conv, size_t itemsize) noexcept nogil:
    """Tasks: image blocks x groups x blocks of input channels x blocks of input rows.

    Each task owns its part of grad_input. Blocks of rows compute the outputs at their seams twice, so
    rows are divided only where images and channels are too few.
    """
    cdef Py_ssize_t wanted = tasks_wanted(conv), least
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w
    cdef Py_ssize_t reach = conv.window.dilation_h * (conv.window.kernel_h - 1) + 1
    cdef Py_ssize_t even = ceil_div(conv.N * conv.L * conv.groups, wanted)
    cdef Tiling tiling = tile_positions(conv, itemsize, max(even, MIN_POSITIONS))
    cdef Py_ssize_t tasks = tiling.image_blocks * conv.groups
    least = ceil_div(64, taps)
    divide(conv.C, ceil_div(wanted, max(1, tasks)), least, &tiling.block, &tiling.blocks)
    tasks *= tiling.blocks
    divide(conv.H_in, ceil_div(wanted, max(1, tasks)), 4 * reach, &tiling.rows, &tiling.row_blocks)
    tiling.taps = min(tiling.taps, tiling.block * taps)
    tiling.columns = tiling.taps * tiling.images * tiling.positions
    if tiling.gathered:
        tiling.buffer = conv.M * tiling.images * tiling.positions
    return tiling


def conv2d_backward_input(grad_output, weight, window, groups, algorithm, grad_input):
    """grad_input = col2im(weight^T . grad_output): overlapping windows add."""
    cdef Conv conv = conv_sizes(grad_input.shape, grad_output.shape, c_window(window), groups)
    cdef int chosen = choose(&conv, algorithm, BACKWARD_INPUT, weight.itemsize)
    with products_guard():
        if weight.itemsize == sizeof(float):
            backward_input[float](&conv, chosen, grad_output, weight, grad_input)
        else:
            backward_input[double](&conv, chosen, grad_output, weight, grad_input)


cdef int backward_input(const Conv* conv, int algorithm,
                        const floating[:, :, :, ::1] grad_output,  # IN (N, C_out, H_out, W_out)
                        const floating[:, :, :, ::1] weight,       # IN (C_out, C_in/groups, kernel_h, kernel_w)
                        floating[:, :, :, ::1] grad_input,         # OUT (N, C_in, H_in, W_in)
                        ) except -1:
    if conv.N == 0:
        return 0
    if algorithm == DEPTHWISE and depthwise(conv, True, &grad_output[0, 0, 0, 0], &weight[0, 0, 0, 0],
                                            <const floating*>NULL, &grad_input[0, 0, 0, 0]):
        return 0
    if algorithm == WINOGRAD and winograd(conv, True, &grad_output[0, 0, 0, 0], &weight[0, 0, 0, 0],
                                          <const floating*>NULL, &grad_input[0, 0, 0, 0]):
        return 0
    cdef Tiling tiling = tile_backward_input(conv, sizeof(floating))
    cdef Py_ssize_t tasks = tiling.image_blocks * conv.groups * tiling.blocks * tiling.row_blocks, t
    cdef int threads = team(<double>conv.N * conv.C_out * conv.K * conv.L, tasks)
    cdef size_t size = round_up(tiling.columns + tiling.buffer + tiling.scratch, 64)
    cdef floating* workspace = <floating*>acquire(threads * size * sizeof(floating))
    for t in prange(tasks, num_threads=threads, schedule="dynamic", nogil=True):
        backward_input_task(conv, &tiling, t, &grad_output[0, 0, 0, 0], &weight[0, 0, 0, 0],
                            &grad_input[0, 0, 0, 0], workspace + threadid() * size)
    cyconv_release(workspace)
    return 0


cdef void backward_input_task(const Conv* conv, const Tiling* tiling, Py_ssize_t task,
                              const floating* grad_output, const floating* weight, floating* grad_input,
                              floating* workspace) noexcept nogil:
    cdef const Window* window = &conv.window
    cdef Py_ssize_t kernel = window.kernel_h * window.kernel_w
    cdef Py_ssize_t y0 = task % tiling.row_blocks * tiling.rows
    cdef Py_ssize_t c0 = task // tiling.row_blocks % tiling.blocks * tiling.block
    cdef Py_ssize_t g = task // (tiling.row_blocks * tiling.blocks) % conv.groups
    cdef Py_ssize_t n0 = task // (tiling.row_blocks * tiling.blocks * conv.groups) * tiling.images
    cdef Py_ssize_t y1 = min(y0 + tiling.rows, conv.H_in)
    cdef Py_ssize_t c1 = min(c0 + tiling.block, conv.C)
    cdef Py_ssize_t images = min(tiling.images, conv.N - n0)
    cdef Py_ssize_t plane = conv.H_in * conv.W_in
    cdef Py_ssize_t l_start, l_stop, l0, positions, P, k0, k, n, c, ldb
    cdef floating* image = grad_input + (n0 * conv.C_in + g * conv.C) * plane
    cdef const floating* b
    # output rows whose windows touch the input rows y0..y1
    l_start = first_row(window, y0) * conv.W_out
    l_stop = past_inside(-window.pad_top, window.stride_h, y1, conv.H_out) * conv.W_out
    for n in range(images):
        for c in range(c0, c1):
            memset(image + (n * conv.C_in + c) * plane + y0 * conv.W_in, 0,
                   (y1 - y0) * conv.W_in * sizeof(floating))
    l0 = l_start
    while l0 < l_stop:
        positions = min(tiling.positions, l_stop - l0)
        P = images * positions
        b = gathered_outputs(conv, tiling, grad_output, n0, images, g * conv.M, l0, positions,
                             workspace + tiling.columns, &ldb)
        k0 = c0 * kernel
        while k0 < c1 * kernel:
            k = min(tiling.taps, c1 * kernel - k0)
            # (k, P) = (M, k)^T . (M, P)
            gemm(True, False, k, P, conv.M, weight + g * conv.M * conv.K + k0, conv.K, b, ldb, False, workspace, P,
                 workspace + tiling.columns + tiling.buffer)
            for n in range(images):
                col2im_tile(workspace + n * positions, P, conv.H_in, conv.W_in, conv.W_out, window,
                            k0, k0 + k, l0, l0 + positions, y0, y1, image + n * conv.C_in * plane)
            k0 += k
        l0 += positions


cdef inline Py_ssize_t first_row(const Window* window, Py_ssize_t y) noexcept nogil:
    """The first output row whose window reaches the input row y."""
    return first_inside(window.dilation_h * (window.kernel_h - 1) - window.pad_top - y, window.stride_h)


# ---------------------------------------------------------------- gradient of the weight


cdef Tiling tile_backward_weight(const Conv* conv, size_t itemsize) noexcept nogil:
    """Tasks: groups x blocks of taps x splits of the tiles.

    Each task owns columns of grad_weight for its share of the batch. Splits have a partial sum each,
    added in their order; they are needed only where taps are too few.
    """
    cdef Py_ssize_t wanted = tasks_wanted(conv)
    cdef Py_ssize_t budget = TILE_BYTES // itemsize
    cdef Tiling tiling = tile_positions(conv, itemsize, 1024)
    cdef Py_ssize_t tasks, most
    divide(conv.K, ceil_div(wanted, conv.groups), 128, &tiling.block, &tiling.blocks)
    most = max(1, budget // (tiling.images * tiling.positions))
    if tiling.block > most:
        divide(conv.K, ceil_div(conv.K, most), 1, &tiling.block, &tiling.blocks)
    tasks = conv.groups * tiling.blocks
    tiling.splits = min(ceil_div(wanted, tasks), tiling.image_blocks * tiling.tiles)
    tiling.splits = min(tiling.splits, max(1, PARTIAL_BYTES // (conv.C_out * conv.K * <Py_ssize_t>itemsize)))
    if tiling.columns:
        tiling.columns = tiling.block * tiling.images * tiling.positions
    if tiling.gathered:
        tiling.buffer = conv.M * tiling.images * tiling.positions
    return tiling


def conv2d_backward_weight(grad_output, input, window, groups, algorithm, grad_weight):
    """grad_weight = grad_output . im2col(input)^T, summed over the batch."""
    cdef Conv conv = conv_sizes(input.shape, grad_output.shape, c_window(window), groups)
    cdef int chosen = choose(&conv, algorithm, BACKWARD_WEIGHT, input.itemsize)
    with products_guard():
        if input.itemsize == sizeof(float):
            backward_weight[float](&conv, chosen, grad_output, input, grad_weight)
        else:
            backward_weight[double](&conv, chosen, grad_output, input, grad_weight)


cdef int backward_weight(const Conv* conv, int algorithm,
                         const floating[:, :, :, ::1] grad_output,  # IN (N, C_out, H_out, W_out)
                         const floating[:, :, :, ::1] input,        # IN (N, C_in, H_in, W_in)
                         floating[:, :, :, ::1] grad_weight,        # OUT (C_out, C_in/groups, kernel_h, kernel_w)
                         ) except -1:
    cdef size_t weights = conv.C_out * conv.K
    if conv.N == 0:
        memset(&grad_weight[0, 0, 0, 0], 0, weights * sizeof(floating))
        return 0
    if algorithm == DEPTHWISE and depthwise_backward_weight(conv, &grad_output[0, 0, 0, 0], &input[0, 0, 0, 0],
                                                            &grad_weight[0, 0, 0, 0]):
        return 0
    if algorithm == WINOGRAD and winograd_backward_weight(conv, &grad_output[0, 0, 0, 0], &input[0, 0, 0, 0],
                                                          &grad_weight[0, 0, 0, 0]):
        return 0
    cdef Tiling tiling = tile_backward_weight(conv, sizeof(floating))
    cdef Py_ssize_t tasks = conv.groups * tiling.blocks * tiling.splits, t
    cdef int threads = team(<double>conv.N * conv.C_out * conv.K * conv.L, tasks)
    cdef size_t size = round_up(tiling.columns + tiling.buffer + tiling.scratch, 64)
    cdef size_t partial = (tiling.splits - 1) * weights  # the first split sums in grad_weight itself
    cdef floating* workspace = <floating*>acquire((threads * size + partial) * sizeof(floating))
    for t in prange(tasks, num_threads=threads, schedule="dynamic", nogil=True):
        backward_weight_task(conv, &tiling, t, &grad_output[0, 0, 0, 0], &input[0, 0, 0, 0],
                             &grad_weight[0, 0, 0, 0], workspace + threads * size,
                             workspace + threadid() * size)
    with nogil:
        add_partial_sums(&grad_weight[0, 0, 0, 0], workspace + threads * size, weights, tiling.splits - 1)
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
    cdef Py_ssize_t s = task % tiling.splits
    cdef Py_ssize_t k0 = task // tiling.splits % tiling.blocks * tiling.block
    cdef Py_ssize_t g = task // (tiling.splits * tiling.blocks)
    cdef Py_ssize_t k = min(tiling.block, conv.K - k0)
    cdef Py_ssize_t tiles = tiling.image_blocks * tiling.tiles
    cdef Py_ssize_t first = s * tiles // tiling.splits, past = (s + 1) * tiles // tiling.splits
    cdef Py_ssize_t tile, n0, images, l0, positions, P, lda, ldb
    cdef const floating* a
    cdef const floating* b
    cdef floating* total = grad_weight if s == 0 else partial + (s - 1) * conv.C_out * conv.K
    total += g * conv.M * conv.K + k0
    for tile in range(first, past):
        n0 = tile // tiling.tiles * tiling.images
        l0 = tile % tiling.tiles * tiling.positions
        images = min(tiling.images, conv.N - n0)
        positions = min(tiling.positions, conv.L - l0)
        a = gathered_outputs(conv, tiling, grad_output, n0, images, g * conv.M, l0, positions,
                             workspace + tiling.columns, &lda)
        b = columns_of(conv, tiling, input, n0, images, g, k0, k, l0, positions, workspace, &ldb)
        P = images * positions
        # (M, k) += (M, P) . (k, P)^T
        gemm(False, True, conv.M, k, P, a, lda, b, ldb, tile > first, total, conv.K,
             workspace + tiling.columns + tiling.buffer)


def conv2d_workspace(image_shape, output_shape, weight, window, groups, backward):
    """Bytes of workspace for one thread by the algorithm that is chosen (forward, or backward wrt the input)."""
    cdef Conv conv = conv_sizes(image_shape, output_shape, c_window(window), groups)
    cdef size_t itemsize = weight.itemsize
    cdef int algorithm = choose(&conv, "auto", BACKWARD_INPUT if backward else FORWARD, itemsize)
    if algorithm == DEPTHWISE:
        return strip_sizes(&conv, backward, itemsize).size
    cdef Winograd filtering
    if algorithm == WINOGRAD:
        filtering = winograd_sizes(&conv, backward, itemsize)
        return table_bytes(&filtering) + (filtering.pixels + filtering.weights + filtering.scratch) * itemsize
    cdef Tiling tiling = tile_backward_input(&conv, itemsize) if backward else tile_forward(&conv, itemsize)
    return (tiling.columns + tiling.buffer + tiling.scratch) * itemsize
