# The gradient of the weight from the lines of implicit.pyx: that of a tap is the product of a line, at the tap's
# distance, with the line of grad_output, summed along both. The zeros between rows of grad_output leave out what lies
# there in the pixels.
#
# A task owns some channels of all filters, and a fixed part of the batch; parts are added in their order: same bits.

cdef Py_ssize_t DOT_POSITIONS = 768  # of one strip: each sum of vectors is closed once
cdef Py_ssize_t DOT_FILTERS = 64     # whose gradients are laid at once: they stay in the L2 cache


cdef struct ImplicitWeight:
    Strip strip
    Py_ssize_t channels, blocks, splits   # channels of one task, how many blocks that gives, parts of the batch
    Py_ssize_t channel                    # elements between the lines of two channels
    Py_ssize_t positions                  # of a strip, in whole vectors
    Py_ssize_t grad                       # elements between the lines of two filters
    size_t lines, grads                   # elements of workspace of each thread
    size_t table, partial                 # bytes of the distances; elements of the sums of all parts but the first


cdef ImplicitWeight implicit_weight_sizes(const Conv* conv, size_t itemsize) noexcept nogil:
    cdef ImplicitWeight s
    cdef Py_ssize_t lanes = lanes_of(itemsize), taps = conv.window.kernel_h * conv.window.kernel_w
    cdef Py_ssize_t wanted = tasks_wanted(conv), weights = conv.C_out * conv.K, slack = 4 * lanes
    memset(&s, 0, sizeof(ImplicitWeight))
    s.strip = plane_strip(conv, False)
    cut_strip(&s.strip, max(1, min(s.strip.rows, DOT_POSITIONS // s.strip.width)), slack)
    divide(conv.C, max(ceil_div(wanted, conv.groups), ceil_div(conv.C, 64)), 1, &s.channels, &s.blocks)
    s.splits = max(1, min(conv.N * s.strip.strips, ceil_div(wanted, conv.groups * s.blocks),
                          PARTIAL_BYTES // (weights * <Py_ssize_t>itemsize)))
    s.channel = apart(s.strip.phase * s.strip.stride_h * s.strip.stride_w)
    s.positions = round_up(s.strip.rows * s.strip.width, lanes)
    s.grad = apart(s.positions)
    s.lines = s.channels * s.channel + slack
    s.grads = round_up(min(DOT_FILTERS, conv.M), ROWS) * s.grad
    s.table = round_up(s.channels * taps * sizeof(Py_ssize_t), 64)
    s.partial = (s.splits - 1) * weights
    return s


cdef inline Py_ssize_t implicit_weight_bytes(const ImplicitWeight* s, size_t itemsize) noexcept nogil:
    # Workspace of each thread.
    return round_up((s.lines + s.grads) * itemsize, 64)


cdef int implicit_backward_weight(const Conv* conv, const floating* grad_output, const floating* input,
                                  floating* grad_weight) noexcept nogil:
    """Fill `grad_weight`, and return 1; 0 where a value is not finite, and the direct sum must decide; NO_MEMORY."""
    cdef ImplicitWeight s = implicit_weight_sizes(conv, sizeof(floating))
    cdef Py_ssize_t tasks = conv.groups * s.blocks * s.splits, taps = conv.window.kernel_h * conv.window.kernel_w
    cdef Py_ssize_t t, c, k, bad = 0
    cdef int threads = team_of(conv.threads, multiply_adds(conv), tasks)
    cdef size_t size = implicit_weight_bytes(&s, sizeof(floating))
    cdef char* workspace = <char*>cyconv_acquire(s.table + threads * size + s.partial * sizeof(floating))
    cdef Py_ssize_t* distance = <Py_ssize_t*>workspace
    cdef floating* partial = <floating*>(workspace + s.table + threads * size)
    if workspace == NULL:
        return NO_MEMORY
    lay_distances(&s.strip, &conv.window, distance)
    for c in range(1, s.channels):
        for k in range(taps):
            distance[c * taps + k] = distance[k] + c * s.channel
    for t in prange(tasks, num_threads=threads, schedule="dynamic"):
        bad += implicit_weight_task(conv, &s, t, grad_output, input, grad_weight, partial, distance,
                                    <floating*>(workspace + s.table + threadid() * size))
    if bad == 0:
        add_partial_sums(grad_weight, partial, conv.C_out * conv.K, s.splits - 1)
    cyconv_release(workspace)
    return bad == 0


cdef bint implicit_weight_task(const Conv* conv, const ImplicitWeight* s, Py_ssize_t task, const floating* grad_output,
                               const floating* input, floating* grad_weight, floating* partial,
                               const Py_ssize_t* distance, floating* lines) noexcept nogil:
    """Returns whether a value is not finite: the zeros between rows may have made it so."""
    cdef uint64_t control = flush_denormals()
    cdef const Strip* strip = &s.strip
    cdef Py_ssize_t part = digit(&task, s.splits)
    cdef Py_ssize_t c0 = digit(&task, s.blocks) * s.channels, g = task
    cdef Py_ssize_t channels = min(s.channels, conv.C - c0), taps = channels * conv.window.kernel_h * conv.window.kernel_w
    cdef Py_ssize_t plane = conv.H_in * conv.W_in, strips = conv.N * strip.strips
    cdef Py_ssize_t i, c, m, m0, n, first, filters
    cdef floating* grads = lines + s.lines
    cdef floating* sums = grad_weight if part == 0 else partial + (part - 1) * conv.C_out * conv.K
    cdef bint finite = True
    sums += g * conv.M * conv.K + c0 * conv.window.kernel_h * conv.window.kernel_w
    for m in range(conv.M):
        memset(sums + m * conv.K, 0, taps * sizeof(floating))
    for i in range(part * strips // s.splits, (part + 1) * strips // s.splits):
        n, first = i // strip.strips, i % strip.strips * strip.rows
        for c in range(channels):
            lay_plane(strip, input + (n * conv.C_in + g * conv.C + c0 + c) * plane, first, lines + c * s.channel)
        m0 = 0
        while m0 < conv.M:
            filters = min(DOT_FILTERS, conv.M - m0)
            for m in range(round_up(filters, ROWS)):
                lay_gradient(conv, s, grad_output + (n * conv.C_out + g * conv.M + m0 + m) * conv.L if m < filters else NULL,
                             first, grads + m * s.grad)
            line_dots(grads, s.grad, filters, lines, distance, taps, s.positions, sums + m0 * conv.K, conv.K)
            m0 += DOT_FILTERS
    for m in range(conv.M):
        finite = finite and all_finite(sums + m * conv.K, taps)
    restore_denormals(control)
    return not finite


cdef void lay_gradient(const Conv* conv, const ImplicitWeight* s, const floating* plane, Py_ssize_t first,
                       floating* line) noexcept nogil:
    """The rows of a strip of grad_output, as far apart as those of the pixels, with zeros between and after them."""
    memset(line, 0, s.positions * sizeof(floating))
    if plane != NULL:
        lay_rows(plane, conv.H_out, conv.W_out, first, 1, 0, 1, s.strip.rows, s.strip.width, line)
