# grad_input = col2im(weight^T . grad_output): the adjoint of the forward pass in its input.
#
# Without a window (1x1) that is the forward pass from grad_output with weight^T, which is made first.

cdef Py_ssize_t TRANSPOSED_POSITIONS = 96  # fewer do not pay for it
cdef size_t TRANSPOSED_BYTES = 9 << 19  # of weight^T at most: else gemm transposes some rows at a time

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
    if conv.pointwise and not tiling.gathered:
        tiling.columns = 0
    if tiling.gathered:
        tiling.buffer = conv.M * tiling.images * tiling.positions
    return tiling


def conv2d_backward_input(grad_output, weight, window, groups, algorithm, grad_input):
    """grad_input = col2im(weight^T . grad_output): overlapping windows add."""
    cdef Array dy = array_in(grad_output)  # (N, C_out, H_out, W_out)
    cdef Array w = array_in(weight)        # (C_out, C_in/groups, kernel_h, kernel_w)
    cdef Array dx = array_out(grad_input)  # (N, C_in, H_in, W_in)
    cdef Conv conv = conv_sizes(dx.shape, dy.shape, c_window(window), groups)
    cdef int asked = c_algorithm(algorithm), status
    with products_guard(), nogil:
        if w.itemsize == sizeof(float):
            status = backward_input[float](&conv, asked, <float*>dy.data, <float*>w.data, <float*>dx.data)
        else:
            status = backward_input[double](&conv, asked, <double*>dy.data, <double*>w.data, <double*>dx.data)
    check_memory(status)


cdef int backward_input(const Conv* conv, int algorithm, const floating* grad_output, const floating* weight,
                        floating* grad_input) noexcept nogil:
    """0, or NO_MEMORY."""
    cdef Conv swapped
    cdef int done = 0
    if conv.N == 0:
        return 0
    algorithm = choose(conv, algorithm, BACKWARD_INPUT, sizeof(floating))
    if algorithm == DEPTHWISE:
        done = depthwise(conv, True, grad_output, weight, <const floating*>NULL, False, grad_input)
    elif algorithm == WINOGRAD:
        done = winograd(conv, True, grad_output, weight, <const floating*>NULL, False, grad_input)
    elif algorithm == IMPLICIT:
        done = implicit(conv, True, grad_output, weight, <const floating*>NULL, False, grad_input)
    elif algorithm == DIRECT:
        done = direct(conv, True, grad_output, weight, <const floating*>NULL, False, grad_input)
    elif algorithm == DENSE:
        done = dense(conv, BACKWARD_INPUT, grad_output, weight, <const floating*>NULL, False, grad_input)
    elif transposed_first(conv, sizeof(floating)):
        swapped = swapped_sides(conv)
        return forward_columns(&swapped, grad_output, weight, True, <const floating*>NULL, False, grad_input)
    if done:
        return min(done, 0)
    cdef Tiling tiling = tile_backward_input(conv, sizeof(floating))
    cdef Py_ssize_t tasks = tiling.image_blocks * conv.groups * tiling.blocks * tiling.row_blocks, t
    cdef int threads = team_of(conv.threads, multiply_adds(conv), tasks)
    cdef size_t size = workspace_size(&tiling)
    cdef floating* workspace = <floating*>cyconv_acquire(threads * size * sizeof(floating))
    if workspace == NULL:
        return NO_MEMORY
    if tasks == 1:  # a team of one costs most of a microsecond
        backward_input_task(conv, &tiling, 0, grad_output, weight, grad_input, workspace)
    else:
        for t in prange(tasks, num_threads=threads, schedule="dynamic"):
            backward_input_task(conv, &tiling, t, grad_output, weight, grad_input, workspace + threadid() * size)
    cyconv_release(workspace)
    return 0


cdef bint transposed_first(const Conv* conv, size_t itemsize) noexcept nogil:
    """Whether the gradient is the forward pass with weight^T: where both find room."""
    cdef size_t weights = transposed_size(conv) * itemsize
    cdef Conv swapped
    cdef Tiling tiling
    if not CYCONV_PANELS or not conv.pointwise or conv.N * conv.L < TRANSPOSED_POSITIONS or weights > TRANSPOSED_BYTES:
        return False
    swapped = swapped_sides(conv)
    tiling = tile_forward(&swapped, itemsize, weights)
    return weights + tiling.table + (tiling.shared + workspace_size(&tiling)) * itemsize <= <size_t>WORKSPACE_BYTES


cdef inline Conv swapped_sides(const Conv* conv) noexcept nogil:
    """The sizes of that forward pass: outputs are read, and inputs made."""
    cdef Conv swapped = conv[0]
    swapped.C_in, swapped.C_out = conv.C_out, conv.C_in
    derive(&swapped)
    return swapped


cdef void backward_input_task(const Conv* conv, const Tiling* tiling, Py_ssize_t task,
                              const floating* grad_output, const floating* weight, floating* grad_input,
                              floating* workspace) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    cdef const Window* window = &conv.window
    cdef Py_ssize_t kernel = window.kernel_h * window.kernel_w
    cdef Py_ssize_t y0 = digit(&task, tiling.row_blocks) * tiling.rows
    cdef Py_ssize_t c0 = digit(&task, tiling.blocks) * tiling.block
    cdef Py_ssize_t g = digit(&task, conv.groups)
    cdef Py_ssize_t n0 = task * tiling.images
    cdef Py_ssize_t y1 = min(y0 + tiling.rows, conv.H_in)
    cdef Py_ssize_t c1 = min(c0 + tiling.block, conv.C)
    cdef Py_ssize_t images = min(tiling.images, conv.N - n0)
    cdef Py_ssize_t plane = conv.H_in * conv.W_in
    cdef Py_ssize_t l_start, l_stop, l0, positions, P, k0, k, n, c, ldb
    cdef bint in_place = tiling.columns == 0  # the columns are grad_input
    cdef floating* image = grad_input + (n0 * conv.C_in + g * conv.C) * plane
    cdef const floating* b
    # output rows whose windows touch the input rows y0..y1
    l_start = first_row(window, y0) * conv.W_out
    l_stop = past_inside(-window.pad_top, window.stride_h, y1, conv.H_out) * conv.W_out
    for n in range(0 if in_place else images):
        for c in range(c0, c1):
            memset(image + (n * conv.C_in + c) * plane + y0 * conv.W_in, 0,
                   (y1 - y0) * conv.W_in * sizeof(floating))
    l0 = l_start
    while l0 < l_stop:
        positions = min(tiling.positions, l_stop - l0)
        P = images * positions
        b = gathered_outputs(conv, tiling, grad_output, n0, images, g * conv.M, conv.M, l0, positions,
                             workspace + tiling.columns, &ldb)
        k0 = c0 * kernel
        while k0 < c1 * kernel:
            k = min(tiling.taps, c1 * kernel - k0)
            # (k, P) = (M, k)^T . (M, P)
            gemm(True, False, k, P, conv.M, weight + g * conv.M * conv.K + k0, conv.K, b, ldb, False,
                 image + k0 * plane + l0 if in_place else workspace, plane if in_place else P,
                 workspace + tiling.columns + tiling.buffer)
            for n in range(0 if in_place else images):
                col2im_tile(workspace + n * positions, P, conv.H_in, conv.W_in, conv.W_out, window,
                            k0, k0 + k, l0, l0 + positions, y0, y1, image + n * conv.C_in * plane)
            k0 += k
        l0 += positions
    restore_denormals(control)


cdef inline Py_ssize_t first_row(const Window* window, Py_ssize_t y) noexcept nogil:
    """The first output row whose window reaches the input row y."""
    return first_inside(window.dilation_h * (window.kernel_h - 1) - window.pad_top - y, window.stride_h)
