# The gradient of the weight from the lines of implicit.pyx: that of a tap is the product of a line, at the tap's
# distance, with the line of grad_output, summed along both. The zeros between rows of grad_output leave out what lies
# there in the pixels.
#
# A task owns some filters and channels, and a fixed part of the batch, for which it keeps its sums as vectors; parts are
# added in their order: same bits.

cdef Py_ssize_t DOT_POSITIONS = 768     # of one strip
cdef Py_ssize_t DOT_FILTERS = 64        # of a task: their gradients stay in the L2 cache
cdef Py_ssize_t DOT_BYTES = 256 << 10   # of its sums: vectors, added up once, at its end


cdef struct ImplicitWeight:
    Strip strip
    Py_ssize_t channels, blocks           # channels of one task, and how many blocks that gives
    Py_ssize_t filters, filter_blocks     # and of its filters, whole panels
    Py_ssize_t splits                     # parts of the batch
    Py_ssize_t channel                    # elements between the lines of two channels
    Py_ssize_t positions                  # of a strip, in whole vectors
    Py_ssize_t grad                       # elements between the lines of two filters
    size_t lines, grads, sums             # elements of workspace of each thread
    size_t table, partial                 # bytes of the distances; elements of the sums of all parts but the first


cdef ImplicitWeight implicit_weight_sizes(const Conv* conv, size_t itemsize) noexcept nogil:
    cdef ImplicitWeight s
    cdef Py_ssize_t lanes = lanes_of(itemsize), taps = conv.window.kernel_h * conv.window.kernel_w
    cdef Py_ssize_t wanted = tasks_wanted(conv), slack = 4 * lanes
    cdef Py_ssize_t splits, parts, sums  # of one channel
    memset(&s, 0, sizeof(ImplicitWeight))
    s.strip = plane_strip(conv, False)
    cut_strip(&s.strip, even_part(s.strip.rows, max(1, DOT_POSITIONS // s.strip.width)), slack)
    splits = max(1, min(conv.N * s.strip.strips, PARTIAL_BYTES // (conv.C_out * conv.K * <Py_ssize_t>itemsize)))
    divide(ceil_div(conv.M, ROWS), ceil_div(conv.M, DOT_FILTERS), 1, &s.filters, &s.filter_blocks)
    s.filters *= ROWS
    parts = conv.groups * s.filter_blocks
    sums = s.filters * taps * lanes
    divide(conv.C, max(ceil_div(wanted, parts * splits), ceil_div(conv.C * sums * <Py_ssize_t>itemsize, DOT_BYTES)), 1,
           &s.channels, &s.blocks)
    s.splits = min(splits, ceil_div(wanted, parts * s.blocks))
    s.channel = apart(s.strip.phase * s.strip.stride_h * s.strip.stride_w)
    s.positions = round_up(s.strip.rows * s.strip.width, lanes)
    s.grad = apart(s.positions)
    s.lines = s.channels * s.channel + slack
    s.grads = s.filters * s.grad
    s.sums = s.channels * sums
    s.table = round_up(s.channels * taps * sizeof(Py_ssize_t), 64)
    s.partial = (s.splits - 1) * conv.C_out * conv.K
    return s


cdef inline Py_ssize_t implicit_weight_bytes(const ImplicitWeight* s, size_t itemsize) noexcept nogil:
    # Workspace of each thread.
    return round_up((s.lines + s.grads + s.sums) * itemsize, 64)


cdef int implicit_backward_weight(const Conv* conv, const floating* grad_output, const floating* input,
                                  floating* grad_weight) noexcept nogil:
    """Fill `grad_weight`, and return 1; 0 where a value is not finite, and the direct sum must decide; NO_MEMORY."""
    cdef ImplicitWeight s = implicit_weight_sizes(conv, sizeof(floating))
    cdef Py_ssize_t tasks = conv.groups * s.filter_blocks * s.blocks * s.splits, taps = conv.window.kernel_h * conv.window.kernel_w
    cdef Py_ssize_t t, bad = 0
    cdef int threads = team_of(conv.threads, multiply_adds(conv), tasks)
    cdef size_t size = implicit_weight_bytes(&s, sizeof(floating))
    cdef char* workspace = <char*>cyconv_acquire(s.table + threads * size + s.partial * sizeof(floating))
    cdef Py_ssize_t* distance = <Py_ssize_t*>workspace
    cdef floating* partial = <floating*>(workspace + s.table + threads * size)
    if workspace == NULL:
        return NO_MEMORY
    lay_distances(&s.strip, &conv.window, distance)
    spread_taps(distance, taps, s.channels, s.channel, distance)
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
    cdef Py_ssize_t c0 = digit(&task, s.blocks) * s.channels, m0 = digit(&task, s.filter_blocks) * s.filters, g = task
    cdef Py_ssize_t channels = min(s.channels, conv.C - c0), taps = channels * conv.window.kernel_h * conv.window.kernel_w
    cdef Py_ssize_t filters = min(s.filters, conv.M - m0)
    cdef Py_ssize_t plane = conv.H_in * conv.W_in, strips = conv.N * strip.strips
    cdef Py_ssize_t i, c, m, n, first
    cdef floating* grads = lines + s.lines
    cdef floating* sums = grads + s.grads
    cdef floating* totals = grad_weight if part == 0 else partial + (part - 1) * conv.C_out * conv.K
    cdef bint finite = True
    totals += (g * conv.M + m0) * conv.K + c0 * conv.window.kernel_h * conv.window.kernel_w
    memset(sums, 0, s.sums * sizeof(floating))
    for i in range(part * strips // s.splits, (part + 1) * strips // s.splits):
        n, first = i // strip.strips, i % strip.strips * strip.rows
        for c in range(channels):
            lay_plane(strip, input + (n * conv.C_in + g * conv.C + c0 + c) * plane, first, 0, lines + c * s.channel)
        for m in range(s.filters):
            lay_gradient(conv, s, grad_output + (n * conv.C_out + g * conv.M + m0 + m) * conv.L if m < filters else NULL,
                         first, grads + m * s.grad)
        line_dots(grads, s.grad, filters, lines, distance, taps, s.positions, sums)
    close_dots(sums, filters, taps, totals, conv.K)
    for m in range(filters):
        finite = finite and all_finite(totals + m * conv.K, taps)
    restore_denormals(control)
    return not finite


cdef void lay_gradient(const Conv* conv, const ImplicitWeight* s, const floating* plane, Py_ssize_t first,
                       floating* line) noexcept nogil:
    """The rows of a strip of grad_output, as far apart as those of the pixels, with zeros between and after them."""
    memset(line, 0, s.positions * sizeof(floating))
    if plane != NULL:
        lay_rows(plane, conv.W_out, conv.H_out, conv.W_out, first, 1, 0, 1, s.strip.rows, s.strip.width, line)
