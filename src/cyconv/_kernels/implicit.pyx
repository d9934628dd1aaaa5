# Products with columns that are never made ("implicit gemm"): a task lays some rows of each channel end to end, padded
# with zeros, as strips.pyx says; every tap of the filter is then a distance along that line, and the micro-kernel
# reads its columns there. Positions at the ends of rows are computed and left out: the narrower the image, the more.
#
# Forward; and the gradient of the input, which is forward from grad_output with the transposed weight, phase by phase
# where there is a stride: each phase of the pixels takes only the taps that reach it.

cdef Py_ssize_t PASS_TAPS = 288            # of one pass, in about so many products: the pixels under a panel stay in L1
cdef Py_ssize_t PASS_POSITIONS = 320       # of a task with several passes: its sums stay in the L2 cache
cdef Py_ssize_t POSITIONS = 768            # of a task with one pass
cdef Py_ssize_t MOST_BYTES = 4 << 20       # workspace of one thread; wider lines are for columns
cdef Py_ssize_t MOST_FILTERS = 128         # of one task


cdef struct Implicit:
    Strip strip
    Py_ssize_t C, M               # channels that are read and that are made, of one group
    Py_ssize_t H, W               # of the planes that are made
    Py_ssize_t channels           # of one pass
    Py_ssize_t filters, blocks    # made by one task, and how many blocks that gives
    Py_ssize_t channel            # elements between the lines of two channels
    size_t lines, factors, sums, panel   # elements of workspace of each thread
    size_t table                  # bytes of the tables of taps, shared


cdef Implicit implicit_sizes(const Conv* conv, bint backward, size_t itemsize) noexcept nogil:
    cdef Implicit s
    cdef const Window* w = &conv.window
    cdef Py_ssize_t taps = w.kernel_h * w.kernel_w, slack = 4 * lanes_of(itemsize), phases, most, wanted, rows
    memset(&s, 0, sizeof(Implicit))
    s.strip = plane_strip(conv, backward)
    if backward:
        s.C, s.M, s.H, s.W = conv.M, conv.C, conv.H_in, conv.W_in
    else:
        s.C, s.M, s.H, s.W = conv.C, conv.M, conv.H_out, conv.W_out
    phases = s.strip.phases_h * s.strip.phases_w
    s.channels = min(s.C, max(1, PASS_TAPS * phases // taps))
    wanted = POSITIONS if s.channels == s.C else PASS_POSITIONS
    rows = max(1, wanted // s.strip.width)
    rows = min(rows, max(1, ceil_div(s.strip.rows * conv.N * conv.groups * ceil_div(s.M, MOST_FILTERS), tasks_wanted(conv))))
    cut_strip(&s.strip, even_part(s.strip.rows, rows), slack)
    divide(s.M, max(ceil_div(tasks_wanted(conv), max(1, conv.N * conv.groups * s.strip.strips)), ceil_div(s.M, MOST_FILTERS)),
           4 * ROWS, &s.filters, &s.blocks)
    s.filters = min(s.filters, MOST_FILTERS)
    s.blocks = ceil_div(s.M, s.filters)
    s.channel = apart(s.strip.phase * s.strip.stride_h * s.strip.stride_w)
    most = taps if not backward else \
        most_taps(w.kernel_h, w.dilation_h, w.stride_h) * most_taps(w.kernel_w, w.dilation_w, w.stride_w)
    s.lines = s.channels * s.channel + slack
    s.factors = round_up(s.filters, ROWS) * s.channels * most
    s.sums = round_up(s.filters, ROWS) * sums_length(&s) if s.channels < s.C else 0
    s.panel = LINE_PANELS + 3 * lanes_of(itemsize) * s.channels * most
    s.table = round_up(((s.channels + 2) * taps + phases) * sizeof(Py_ssize_t), 64)
    return s


cdef inline Py_ssize_t most_taps(Py_ssize_t kernel, Py_ssize_t dilation, Py_ssize_t stride) noexcept nogil:
    # That reach one pixel, along one axis, or a little more.
    return kernel if stride == 1 or dilation > 1 else ceil_div(kernel, stride)


cdef inline Py_ssize_t sums_length(const Implicit* s) noexcept nogil:
    # Of the sums of one filter, rows of whole vectors: off the powers of two.
    return round_up(s.strip.rows * round_up(s.strip.width, 16) + 64, 32) + 16


cdef inline Py_ssize_t implicit_bytes(const Implicit* s, size_t itemsize) noexcept nogil:
    # Workspace of each thread.
    return round_up((s.lines + s.factors + s.sums + 2 * MOST_FILTERS + s.panel) * itemsize, 64)


cdef bint implicit_applies(const Conv* conv, int which, size_t itemsize) noexcept nogil:
    cdef const Window* w = &conv.window
    cdef Implicit s
    cdef ImplicitWeight weight
    if not CYCONV_PANELS or conv.pointwise or max(w.stride_h, w.stride_w) > 8 or w.kernel_h * w.kernel_w > PASS_TAPS:
        return False
    if which == BACKWARD_WEIGHT:
        weight = implicit_weight_sizes(conv, itemsize)
        return implicit_weight_bytes(&weight, itemsize) <= MOST_BYTES
    s = implicit_sizes(conv, which == BACKWARD_INPUT, itemsize)
    return implicit_bytes(&s, itemsize) <= MOST_BYTES


cdef int implicit(const Conv* conv, bint backward, const floating* images, const floating* weight,
                  const floating* bias, bint relu, floating* outputs) noexcept nogil:
    """Forward, or with `backward` the gradient of the input: images and outputs change sides.

    Returns 1; NO_MEMORY; or 0, with nothing done, where the gradient would multiply a weight that is not finite by
    the zeros around grad_output: there is no such term in the sum.
    """
    if backward and not all_finite(weight, conv.C_out * conv.K):
        return 0
    cdef Implicit s = implicit_sizes(conv, backward, sizeof(floating))
    cdef Py_ssize_t tasks = conv.N * conv.groups * s.strip.strips * s.blocks, t
    cdef int threads = team_of(conv.threads, multiply_adds(conv), tasks)
    cdef size_t size = implicit_bytes(&s, sizeof(floating))
    cdef char* workspace = <char*>cyconv_acquire(s.table + threads * size)
    cdef Py_ssize_t* distance = <Py_ssize_t*>workspace
    if workspace == NULL:
        return NO_MEMORY
    lay_taps(&s.strip, &conv.window, backward, s.channels, s.channel, distance)
    if tasks == 1:  # a team of one costs most of a microsecond
        implicit_task(conv, &s, backward, 0, images, weight, bias, relu, outputs, distance,
                      <floating*>(workspace + s.table))
    else:
        for t in prange(tasks, num_threads=threads, schedule="dynamic"):
            implicit_task(conv, &s, backward, t, images, weight, bias, relu, outputs, distance,
                          <floating*>(workspace + s.table + threadid() * size))
    cyconv_release(workspace)
    return 1


cdef void implicit_task(const Conv* conv, const Implicit* s, bint backward, Py_ssize_t task, const floating* images,
                        const floating* weight, const floating* bias, bint relu, floating* outputs, const Py_ssize_t* table,
                        floating* workspace) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    cdef const Strip* strip = &s.strip
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w, plane = s.H * s.W, read = strip.H * strip.W
    cdef Py_ssize_t m0 = digit(&task, s.blocks) * s.filters
    cdef Py_ssize_t first = digit(&task, strip.strips) * strip.rows
    cdef Py_ssize_t g = digit(&task, conv.groups), n = task
    cdef Py_ssize_t m = min(s.filters, s.M - m0), c, c0, i, a, b, phase, rows, columns, positions, count, k0 = 0
    cdef bint by_rows
    cdef Py_ssize_t phases = strip.phases_h * strip.phases_w
    cdef const Py_ssize_t* distance = table + 2 * taps + phases
    cdef floating* lines = workspace
    cdef floating* factors = lines + s.lines
    cdef floating* sums = factors + s.factors
    cdef floating* start = sums + s.sums
    cdef floating* panel = start + 2 * MOST_FILTERS
    images += (n * conv.groups + g) * s.C * read
    outputs += ((n * conv.groups + g) * s.M + m0) * plane
    weight += g * conv.M * conv.K + (m0 * taps if backward else m0 * conv.K)
    memset(start, 0, 2 * MOST_FILTERS * sizeof(floating))
    if bias != NULL:
        memcpy(start, bias + g * s.M + m0, m * sizeof(floating))
    for phase in range(phases):
        a, b = phase // strip.phases_w, phase % strip.phases_w
        count = table[2 * taps + phase]
        rows = min(strip.rows, ceil_div(s.H - a, strip.phases_h) - first)
        columns = ceil_div(s.W - b, strip.phases_w)
        positions = (rows - 1) * strip.width + columns
        by_rows = ends_with_rows(positions, strip.width, columns, lanes_of(sizeof(floating)), s.C * count)
        c0 = 0 if rows > 0 and columns > 0 else s.C
        while c0 < s.C:
            c = min(s.channels, s.C - c0)
            for i in range(c):
                lay_plane(strip, images + (c0 + i) * read, first, 0, lines + i * s.channel)
            if backward:
                pack_taps(weight + c0 * conv.K, taps, conv.K, m, c, table + taps + k0, count, factors)
            else:
                pack_filters(weight + c0 * taps, conv.K, m, c * taps, factors)
            line_product(factors, lines, distance, c * count, m, positions, by_rows, start, c0 == 0, c0 + c >= s.C,
                         relu, sums, sums_length(s), strip.width, columns, strip.phases_h * s.W, strip.phases_w, plane,
                         outputs + (first * strip.phases_h + a) * s.W + b, panel)
            c0 += c
        distance += s.channels * count
        k0 += count
    restore_denormals(control)


cdef bint ends_with_rows(Py_ssize_t positions, Py_ssize_t width, Py_ssize_t columns, Py_ssize_t lanes,
                         Py_ssize_t taps) noexcept nogil:
    """Whether a line is multiplied in less time by blocks that end with its rows than by blocks of three vectors
    throughout: rows of `columns` outputs, `width` apart.

    In products of vectors: a block of two vectors takes as long as 2.4 of three, and each of two such as 2.4; outputs
    of a block that lies in several rows are copied.
    """
    cdef Py_ssize_t vectors = ceil_div(columns, lanes), rows = ceil_div(positions, width)
    cdef double short = 0.8 if vectors % 3 == 1 else 0.4 if vectors % 3 == 2 else 0
    cdef double copies = 10 * min(1.0, 3.0 * lanes / width)
    return rows * (vectors + short) * taps <= <double>positions / lanes * (taps + copies)
