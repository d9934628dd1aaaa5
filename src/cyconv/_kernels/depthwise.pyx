# Depthwise convolution (one input channel per group) without gemm: each strip of each plane is a task.
#
# The taps of a filter are distances along the line of a strip (strips.pyx). Filters of several rows lay no line: their
# vectors are read from the image where it lies, and masked at its sides.

cdef Py_ssize_t STRIP_BYTES = 12 << 10  # of one strip's line: it and the sums stay in the L1 cache
cdef Py_ssize_t FILTER_TAPS = 1 << 12   # of a filter at most: its tables and sums stay in the L2 cache
cdef Py_ssize_t LEAST_ROWS_READ = 4     # rows of outputs for which they are read where they lie: a tile makes TILE_ROWS


cdef bint depthwise_applies(const Conv* conv, int step, size_t itemsize) noexcept nogil:
    cdef const Window* w = &conv.window
    cdef Strip s
    if (conv.C > 1 or w.kernel_h * w.kernel_w > FILTER_TAPS or max(w.stride_h, w.stride_w, w.dilation_h) > 8 or w.dilation_w > 64
            or max(conv.W_in, conv.W_out) > 1 << 16):
        return False
    if small_planes(conv, step, itemsize):
        return True
    s = strip_sizes(conv, step, itemsize)
    return s.table + s.size <= <size_t>WORKSPACE_BYTES


cdef Strip strip_sizes(const Conv* conv, int step, size_t itemsize) noexcept nogil:
    cdef Strip s = plane_strip(conv, step == BACKWARD_INPUT)
    cdef const Window* w = &conv.window
    cdef Py_ssize_t slack = 4 * lanes_of(itemsize)
    cdef Py_ssize_t strips = s.rows * s.width * s.stride_h * s.stride_w * <Py_ssize_t>itemsize // STRIP_BYTES + 1
    cdef Py_ssize_t rows = ceil_div(s.rows, min(strips, s.rows))
    if step != BACKWARD_WEIGHT and w.kernel_h > 1 and s.rows >= LEAST_ROWS_READ and w.dilation_h == 1 and w.dilation_w == 1 and \
            w.stride_h == w.stride_w and w.stride_h <= (2 if step == FORWARD else 1):
        direct_strip(&s, conv, step, min(s.rows, round_up(rows, TILE_ROWS)), itemsize)
        return s
    cut_strip(&s, even_part(s.rows, rows), slack)
    s.sums = round_up(s.rows * s.width + slack, 16)
    s.size = (s.phase * s.stride_h * s.stride_w + s.sums * s.phases_h * s.phases_w) * itemsize
    s.size = round_up(s.size + conv.K * itemsize, 64)
    s.table = round_up((2 * conv.K + s.phases_h * s.phases_w) * sizeof(Py_ssize_t), 64)
    if step == BACKWARD_WEIGHT:
        s.size += filter_sums(conv, itemsize)
    return s


cdef inline size_t filter_sums(const Conv* conv, size_t itemsize) noexcept nogil:
    # Bytes of the sums of a filter's gradient, a vector for each tap: the last of a thread's workspace.
    return round_up(conv.K * lanes_of(itemsize) * itemsize, 64)


cdef void direct_strip(Strip* s, const Conv* conv, int step, Py_ssize_t rows, size_t itemsize) noexcept nogil:
    """Strips of `rows` rows that are read where they lie."""
    cdef Py_ssize_t lanes = lanes_of(itemsize)
    cdef cyconv_filter* f = &s.filter
    s.direct = True
    s.rows, s.strips = rows, ceil_div(s.rows, rows)
    f.H, f.W, f.top, f.left = s.H, s.W, s.top, s.left
    f.kernel_h, f.kernel_w, f.stride = conv.window.kernel_h, conv.window.kernel_w, s.stride_h
    f.W_out = conv.W_in if step == BACKWARD_INPUT else conv.W_out
    f.lines = (max(rows, TILE_ROWS) - 1) * f.stride + f.kernel_h
    f.reach = max(f.W_out, lanes) * f.stride + f.kernel_w - 1
    f.edges = min(f.lines, ceil_div(max(0, f.left), f.W) + ceil_div(max(0, f.reach - f.left), f.W))
    s.width = round_up(f.W_out, lanes)
    s.sums = rows * f.W_out if step == BACKWARD_INPUT and conv.M > 1 else 0
    s.size = round_up(f.lines * sizeof(void*) + (f.edges * f.reach + s.sums + conv.K) * itemsize, 64)
    s.table = round_up(2 * f.reach * itemsize, 64)


cdef void lay_inside(const cyconv_filter* f, floating* table) noexcept nogil:
    """The table of `filter_plane`."""
    cdef Py_ssize_t first = min(max(0, f.left), f.reach), past = min(max(first, f.left + f.W), f.reach)
    memset(table, 0, 2 * f.reach * sizeof(floating))
    memset(table + first, 0xff, (past - first) * sizeof(floating))


cdef int depthwise(const Conv* conv, bint backward, const floating* images, const floating* weight,
                   const floating* bias, bint relu, floating* outputs) noexcept nogil:
    """Forward, or with `backward` the gradient of the input: images and outputs change sides.

    Returns 1; NO_MEMORY; or 0, with nothing done, where the gradient would multiply a weight that is not finite by
    the zeros around grad_output: there is no such term in the sum.
    """
    if backward and not all_finite(weight, conv.C_out * conv.K):
        return 0
    if small_planes(conv, BACKWARD_INPUT if backward else FORWARD, sizeof(floating)):
        return depthwise_small(conv, backward, images, weight, bias, relu, outputs)
    cdef Strip s = strip_sizes(conv, BACKWARD_INPUT if backward else FORWARD, sizeof(floating))
    cdef Py_ssize_t tasks = conv.N * (conv.C_in if backward else conv.C_out) * s.strips
    cdef int threads = team_of(conv.threads, multiply_adds(conv) * 4, tasks), t
    cdef char* workspace = <char*>cyconv_acquire(s.table + threads * s.size)
    if workspace == NULL:
        return NO_MEMORY
    if s.direct:
        lay_inside(&s.filter, <floating*>workspace)
    elif backward:
        lay_phases(&s, &conv.window, <Py_ssize_t*>workspace)
    else:
        lay_distances(&s, &conv.window, <Py_ssize_t*>workspace)
    if threads == 1:
        depthwise_part(conv, &s, backward, 0, tasks, images, weight, bias, relu, outputs, workspace,
                       <floating*>(workspace + s.table))
    else:
        for t in prange(threads, num_threads=threads):
            depthwise_part(conv, &s, backward, tasks * t // threads, tasks * (t + 1) // threads, images, weight, bias,
                           relu, outputs, workspace, <floating*>(workspace + s.table + t * s.size))
    cyconv_release(workspace)
    return 1


cdef void depthwise_part(const Conv* conv, const Strip* s, bint backward, Py_ssize_t task, Py_ssize_t past,
                         const floating* images, const floating* weight, const floating* bias, bint relu,
                         floating* outputs, const void* table, floating* workspace) noexcept nogil:
    """The strips task..past."""
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t channels = conv.C_in if backward else conv.C_out, plane = task // s.strips
    cdef Py_ssize_t channel = plane % channels, first = task % s.strips * s.rows
    for task in range(task, past):
        if s.direct and backward:
            direct_backward_strip(conv, s, plane, channel, first, images, weight, outputs, <const floating*>table,
                                  workspace)
        elif s.direct:
            filter_plane(&s.filter, images, conv.N * conv.C_in * conv.H_in * conv.W_in,
                         plane if conv.M == 1 else plane // conv.M, first, min(s.rows, conv.H_out - first),
                         weight + channel * conv.K, bias[channel] if bias != NULL else 0, relu, <const floating*>table,
                         workspace, outputs + plane * conv.L + first * conv.W_out)
        elif backward:
            depthwise_backward_strip(conv, s, plane, channel, first, images, weight, outputs, <const Py_ssize_t*>table,
                                     workspace)
        else:
            depthwise_strip(conv, s, plane, channel, first, images, weight, bias, relu, outputs,
                            <const Py_ssize_t*>table, workspace)
        first += s.rows
        if first == s.strips * s.rows:  # the next plane: divisions would take a tenth of the time of a small one
            first, plane, channel = 0, plane + 1, channel + 1
            if channel == channels:
                channel = 0
    restore_denormals(control)


cdef void depthwise_strip(const Conv* conv, const Strip* s, Py_ssize_t plane, Py_ssize_t o, Py_ssize_t first,
                          const floating* images, const floating* weight, const floating* bias, bint relu,
                          floating* outputs, const Py_ssize_t* distance, floating* line) noexcept nogil:
    cdef Py_ssize_t rows = min(s.rows, conv.H_out - first)
    cdef floating* sums = line + s.phase * s.stride_h * s.stride_w
    lay_plane(s, images + plane // conv.M * conv.H_in * conv.W_in, first, 0, line)
    taps(line, distance, weight + o * conv.K, conv.K, bias[o] if bias != NULL else 0, sums, rows * s.width)
    if relu:
        rectify(sums, rows * s.width)
    copy_rows(sums, s.width, rows, conv.W_out, outputs + plane * conv.L + first * conv.W_out)


cdef void direct_backward_strip(const Conv* conv, const Strip* s, Py_ssize_t plane, Py_ssize_t c, Py_ssize_t first,
                                const floating* grad_output, const floating* weight, floating* grad_input,
                                const floating* table, floating* workspace) noexcept nogil:
    """The gradient of the input: forward, with the filter's taps in reverse."""
    cdef Py_ssize_t rows = min(s.rows, conv.H_in - first), m, k
    cdef floating* reversed = workspace + (s.size // sizeof(floating) - conv.K)
    cdef floating* sums = reversed - s.sums
    cdef floating* out = grad_input + (plane * conv.H_in + first) * conv.W_in
    for m in range(conv.M):
        for k in range(conv.K):
            reversed[k] = weight[(c * conv.M + m + 1) * conv.K - 1 - k]
        filter_plane(&s.filter, grad_output, conv.N * conv.C_out * conv.L, plane * conv.M + m, first, rows, reversed, 0,
                     False, table, workspace, out if m == 0 else sums)
        if m > 0:
            interleave_row(sums, 0, 1, rows * conv.W_in, True, out)


cdef void depthwise_backward_strip(const Conv* conv, const Strip* s, Py_ssize_t plane, Py_ssize_t c, Py_ssize_t first,
                                   const floating* grad_output, const floating* weight, floating* grad_input,
                                   const Py_ssize_t* distance, floating* line) noexcept nogil:
    cdef Py_ssize_t phases = s.phases_h * s.phases_w, m, o, a, r, k
    cdef floating* sums = line + s.phase
    cdef floating* chosen = sums + s.sums * phases  # the weights, in the order of the phases
    cdef floating* image = grad_input + plane * conv.H_in * conv.W_in
    for m in range(conv.M):
        o = c * conv.M + m
        lay_plane(s, grad_output + (plane * conv.M + m) * conv.L, first, 0, line)
        for k in range(conv.K):
            chosen[k] = weight[o * conv.K + distance[conv.K + k]]
        k = 0
        for a in range(phases):
            taps(line, distance + k, chosen + k, distance[2 * conv.K + a], 0, sums + a * s.sums, s.rows * s.width)
            k += distance[2 * conv.K + a]
        if phases == 1 and m == 0:
            copy_rows(sums, s.width, min(s.rows, conv.H_in - first), conv.W_in, image + first * conv.W_in)
            continue
        for r in range(min(s.rows * s.phases_h, conv.H_in - first * s.phases_h)):
            a = r % s.phases_h
            interleave_row(sums + a * s.phases_w * s.sums + r // s.phases_h * s.width, s.sums, s.phases_w, conv.W_in,
                           m > 0, image + (first * s.phases_h + r) * conv.W_in)


cdef int depthwise_backward_weight(const Conv* conv, const floating* grad_output, const floating* input,
                                   floating* grad_weight) noexcept nogil:
    """Each task owns one filter, for the whole batch. Returns 1; NO_MEMORY; or 0 where a value is not finite, and
    the direct sum must decide which are."""
    if small_planes(conv, BACKWARD_WEIGHT, sizeof(floating)):
        return small_backward_weight(conv, grad_output, input, grad_weight)
    cdef Strip s = strip_sizes(conv, BACKWARD_WEIGHT, sizeof(floating))
    cdef Py_ssize_t bad = 0
    cdef int threads = team_of(conv.threads, multiply_adds(conv) * 4, conv.C_out), t
    cdef char* workspace = <char*>cyconv_acquire(s.table + threads * s.size)
    if workspace == NULL:
        return NO_MEMORY
    lay_distances(&s, &conv.window, <Py_ssize_t*>workspace)
    if threads == 1:
        bad = depthwise_filters(conv, &s, 0, conv.C_out, grad_output, input, grad_weight, <Py_ssize_t*>workspace,
                                workspace + s.table)
    else:
        for t in prange(threads, num_threads=threads):
            bad += depthwise_filters(conv, &s, conv.C_out * t // threads, conv.C_out * (t + 1) // threads, grad_output,
                                     input, grad_weight, <Py_ssize_t*>workspace, workspace + s.table + t * s.size)
    cyconv_release(workspace)
    return bad == 0


cdef Py_ssize_t depthwise_filters(const Conv* conv, const Strip* s, Py_ssize_t first, Py_ssize_t past,
                                  const floating* grad_output, const floating* input, floating* grad_weight,
                                  const Py_ssize_t* distance, char* workspace) noexcept nogil:
    """The gradients of the filters first..past; returns how many have a value that is not finite."""
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t o, bad = 0
    for o in range(first, past):
        bad += depthwise_filter(conv, s, o, grad_output, input, grad_weight, distance, workspace)
    restore_denormals(control)
    return bad


cdef bint depthwise_filter(const Conv* conv, const Strip* s, Py_ssize_t o, const floating* grad_output,
                           const floating* input, floating* grad_weight, const Py_ssize_t* distance,
                           char* workspace) noexcept nogil:
    """The gradient of one filter; returns whether a value is not finite: the zeros between rows may have made it so."""
    cdef Py_ssize_t lanes = lanes_of(sizeof(floating)), n, k, l, i, y, first, rows
    cdef floating* line = <floating*>workspace
    cdef floating* grads = line + s.phase * s.stride_h * s.stride_w
    cdef floating* sums = <floating*>(workspace + s.size - filter_sums(conv, sizeof(floating)))
    cdef floating total
    memset(sums, 0, conv.K * lanes * sizeof(floating))
    for n in range(conv.N):
        for i in range(s.strips):
            first = i * s.rows
            rows = min(s.rows, conv.H_out - first)
            lay_plane(s, input + (n * conv.C_in + o // conv.M) * conv.H_in * conv.W_in, first, 0, line)
            memset(grads, 0, (rows * s.width + lanes) * sizeof(floating))
            lay_rows(grad_output + (n * conv.C_out + o) * conv.L, conv.W_out, conv.H_out, conv.W_out, first, 1, 0, 1, rows,
                     s.width, grads)
            taps_gradient(line, distance, conv.K, grads, rows * s.width, sums)
    for k in range(conv.K):
        total = 0
        for l in range(lanes):
            total += sums[k * lanes + l]
        grad_weight[o * conv.K + k] = total
    return not all_finite(grad_weight + o * conv.K, conv.K)
