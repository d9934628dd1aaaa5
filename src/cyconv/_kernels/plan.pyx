# What the kernels would do for some shapes, and what the cost model says of it. Nothing is computed.

OWN_GEMM = bool(CYCONV_PANELS)  # else products are BLAS's

ALGORITHM_NAMES = {IM2COL: "im2col", IMPLICIT: "implicit", WINOGRAD: "winograd", DEPTHWISE: "depthwise", DIRECT: "direct"}


def conv2d_plan(image_shape, output_shape, itemsize, window, groups, algorithm, which):
    """The plan (cyconv._types.Plan) of one pass of a convolution: which is "forward", "input" or "weight"."""
    cdef Py_ssize_t[4] image = image_shape, output = output_shape
    cdef Conv conv = conv_sizes(image, output, c_window(window), groups)
    cdef int step = FORWARD if which == "forward" else BACKWARD_INPUT if which == "input" else BACKWARD_WEIGHT
    cdef bint backward = step == BACKWARD_INPUT
    cdef size_t size = itemsize
    cdef int chosen = choose(&conv, c_algorithm(algorithm), step, size)
    cycles = {"im2col": im2col_cycles(&conv, step, size)}
    if implicit_applies(&conv, step, size):
        cycles["implicit"] = implicit_cycles(&conv, step, size)
    if chosen == WINOGRAD or winograd_pays(&conv):
        cycles["winograd"] = winograd_cycles(&conv, step, size)
    if depthwise_applies(&conv, step, size):
        cycles["depthwise"] = depthwise_cycles(&conv, step, size)
    if chosen == DIRECT or direct_pays(&conv, step, size):
        cycles["direct"] = direct_cycles(&conv, step, size)
    if chosen == DENSE:
        plan = product_plan(dense_product(&conv, step, size), size)
        return {**plan, "cycles": {**cycles, **plan["cycles"]}}
    if chosen == DEPTHWISE:
        plan = depthwise_plan(&conv, step, size)
    elif chosen == DIRECT:
        plan = direct_weight_plan(&conv, size) if step == BACKWARD_WEIGHT else direct_plan(&conv, backward, size)
    elif chosen == IMPLICIT:
        plan = implicit_weight_plan(&conv, size) if step == BACKWARD_WEIGHT else implicit_plan(&conv, backward, size)
    elif chosen == WINOGRAD:
        plan = winograd_weight_plan(&conv, size) if step == BACKWARD_WEIGHT else winograd_plan(&conv, backward, size)
    else:
        plan = columns_plan(&conv, step, size)
    return {"algorithm": ALGORITHM_NAMES[chosen], "cycles": cycles, **plan}


cdef dict plan_of(gemm, products, tiles, tasks, threads, shared, workspace):
    """`shared` and `workspace`: bytes of all threads together, and of each."""
    return {"gemm": gemm, "products": products, "tiles": tiles, "tasks": tasks, "threads": threads, "shared": shared,
            "workspace": workspace}


cdef dict columns_plan(const Conv* conv, int step, size_t itemsize):
    cdef Conv swapped
    cdef size_t weights = 0
    if step == BACKWARD_INPUT and transposed_first(conv, itemsize):
        swapped = swapped_sides(conv)
        conv, step, weights = &swapped, FORWARD, transposed_size(conv) * itemsize
    cdef Tiling s = (tile_forward(conv, itemsize, weights) if step == FORWARD else tile_backward_input(conv, itemsize)
                     if step == BACKWARD_INPUT else tile_backward_weight(conv, itemsize))
    cdef Py_ssize_t tiles = s.image_blocks * s.tiles, positions = s.images * s.positions
    cdef Py_ssize_t parts = conv.groups * s.blocks, shared = 0, tasks
    if step == FORWARD:
        gemm, tasks, shared = (s.block, positions, s.taps), tiles * parts, weights + s.table + s.shared * itemsize
        parts *= ceil_div(conv.K, s.taps)
    elif step == BACKWARD_INPUT:
        gemm, tasks = (s.taps, positions, conv.M), s.image_blocks * parts * s.row_blocks
        # blocks of rows compute the outputs at their seams twice: a few products more
        parts *= ceil_div(s.block * conv.window.kernel_h * conv.window.kernel_w, s.taps)
    else:
        parts *= s.row_blocks
        gemm, tasks = (s.rows, s.block, positions), parts * s.splits
        shared = (max(1, s.splits) - 1) * conv.C_out * conv.K * itemsize
    return plan_of(gemm, tiles * parts, tiles, tasks, team_of(conv.threads, multiply_adds(conv), tasks), shared,
                   workspace_size(&s) * itemsize)


cdef dict implicit_plan(const Conv* conv, bint backward, size_t itemsize):
    cdef Implicit s = implicit_sizes(conv, backward, itemsize)
    cdef Py_ssize_t strips = conv.N * conv.groups * s.strip.strips, tasks = strips * s.blocks
    cdef Py_ssize_t phases = s.strip.phases_h * s.strip.phases_w
    cdef Py_ssize_t taps = ceil_div(conv.window.kernel_h * conv.window.kernel_w, phases)  # that reach one phase
    return plan_of((s.filters, s.strip.rows * s.strip.width, s.channels * taps),
                   tasks * phases * ceil_div(s.C, s.channels), strips, tasks,
                   team_of(conv.threads, multiply_adds(conv), tasks), s.table, implicit_bytes(&s, itemsize))


cdef dict direct_plan(const Conv* conv, bint backward, size_t itemsize):
    cdef Direct s = direct_sizes(conv, backward, itemsize)
    cdef Py_ssize_t tiles = direct_tiles(conv, &s), tasks = tiles * s.blocks, lanes = lanes_of(itemsize)
    cdef Py_ssize_t phases = s.strip.phases_h * s.strip.phases_w
    cdef Py_ssize_t taps = ceil_div(conv.window.kernel_h * conv.window.kernel_w, phases)  # that reach one phase
    return plan_of((s.images * s.rows * s.columns, min(s.M, PANEL_VECTORS * lanes), s.few * taps),
                   tiles * s.panels * phases * ceil_div(s.C, s.few), tiles, tasks, team_of(conv.threads, multiply_adds(conv), tasks),
                   s.table + direct_shared(conv, &s) * itemsize, direct_own(&s) * itemsize)


cdef dict direct_weight_plan(const Conv* conv, size_t itemsize):
    cdef DirectWeight s = direct_weight_sizes(conv, itemsize)
    cdef Py_ssize_t tasks = gradient_tasks(conv, &s), lanes = lanes_of(itemsize)
    cdef Py_ssize_t taps = s.channels * conv.window.kernel_h * conv.window.kernel_w
    return plan_of((taps, min(conv.M, PANEL_VECTORS * lanes), s.tiling.images * s.tiling.rows * s.tiling.columns),
                   conv.groups * s.blocks * s.tiling.panels * s.tiles, s.tiles, tasks,
                   team_of(conv.threads, multiply_adds(conv), tasks), s.table + direct_weight_shared(conv, &s) * itemsize,
                   direct_weight_own(&s) * itemsize)


cdef dict implicit_weight_plan(const Conv* conv, size_t itemsize):
    cdef ImplicitWeight s = implicit_weight_sizes(conv, itemsize)
    cdef Py_ssize_t strips = conv.N * conv.groups * s.strip.strips, blocks = s.blocks * s.filter_blocks
    cdef Py_ssize_t tasks = conv.groups * blocks * s.splits, taps = s.channels * conv.window.kernel_h * conv.window.kernel_w
    return plan_of((min(s.filters, conv.M), taps, s.positions), strips * blocks, strips, tasks,
                   team_of(conv.threads, multiply_adds(conv), tasks), s.table + s.partial * itemsize,
                   implicit_weight_bytes(&s, itemsize))


cdef dict winograd_plan(const Conv* conv, bint backward, size_t itemsize):
    cdef Winograd s = winograd_sizes(conv, backward, itemsize)
    cdef Py_ssize_t tiles = s.N * s.tile_rows * s.tile_columns, block = s.rows * s.columns
    cdef Py_ssize_t blocks = conv.groups * <Py_ssize_t>tile_blocks(&s), products = 0
    cdef Py_ssize_t tasks = blocks * (s.parts if s.by_tiles else max(pixel_tasks(&s, lanes_of(itemsize)), s.panels * parts_of(&s, block)))
    cdef int phase, v
    for phase in range(s.phases_out):
        for v in range(s.planes):
            products += runs(&s, phase, v).count
    return plan_of((s.span, min(s.width, s.M), s.C), blocks * s.panels * ceil_div(block, s.span) * products,
                   conv.groups * tiles, tasks, team_of(conv.threads, multiply_adds(conv), 1 << 20), s.shared, s.own)


cdef dict winograd_weight_plan(const Conv* conv, size_t itemsize):
    cdef WinogradWeight s = winograd_weight_sizes(conv, itemsize)
    cdef Py_ssize_t tiles = s.tiles.N * s.tiles.tile_rows * s.tiles.tile_columns
    cdef Py_ssize_t products = (s.tiles.planes * conv.groups * <Py_ssize_t>tile_blocks(&s.tiles)
                                * ceil_div(conv.M, s.filters) * ceil_div(s.tiles.C, s.channels))
    return plan_of((s.filters, s.channels, s.tiles.rows * s.tiles.columns), products, conv.groups * tiles,
                   conv.groups * s.parts if s.parts else products, team_of(conv.threads, multiply_adds(conv), 1 << 20), s.shared,
                   s.own)


cdef dict depthwise_plan(const Conv* conv, int step, size_t itemsize):
    if small_planes(conv, step, itemsize):
        return small_plan(conv, step, itemsize)
    cdef Strip s = strip_sizes(conv, step, itemsize)
    cdef Py_ssize_t planes = conv.N * (conv.C_in if step == BACKWARD_INPUT else conv.C_out)
    cdef Py_ssize_t tasks = conv.C_out if step == BACKWARD_WEIGHT else planes * s.strips
    return plan_of(None, 0, planes * s.strips, tasks, team_of(conv.threads, multiply_adds(conv) * 4, tasks), s.table, s.size)


cdef dict small_plan(const Conv* conv, int step, size_t itemsize):
    cdef Small s = small_sizes(conv, step, itemsize)
    cdef Py_ssize_t tasks = s.blocks * (s.parts if step == BACKWARD_WEIGHT else conv.N)
    return plan_of(None, 0, conv.N * s.blocks, tasks, team_of(conv.threads, multiply_adds(conv) * 4, tasks), s.table + s.sums,
                   s.own)


def matmul_plan(m, n, k, transpose_a, transpose_b, itemsize):
    """The plan of `matmul`: op(a) is (m, k), op(b) (k, n)."""
    cdef Product p
    p.m, p.n, p.k, p.transpose_a, p.transpose_b = m, n, k, transpose_a, transpose_b
    p.threads = _threads.get_num_threads()
    divide_product(&p, itemsize)
    return product_plan(p, itemsize)


cdef dict product_plan(Product p, size_t itemsize):
    cdef Py_ssize_t tasks = p.row_blocks * p.column_blocks
    name = "dots" if p.by_dots else "gemm"
    plan = plan_of((p.rows, min(p.n, p.columns), p.k), tasks, 0, tasks,
                   team_of(p.threads, <double>p.m * p.n * p.k, tasks), 0, gemm_scratch(itemsize) * itemsize)
    return {"algorithm": name, "cycles": {name: <double>p.m * p.n * p.k / lanes_of(itemsize)}, **plan}
