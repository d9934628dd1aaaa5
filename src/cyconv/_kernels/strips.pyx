# Lines of pixels. The rows of a strip of a plane are laid end to end, `width` apart and padded with zeros; then every tap of a
# kernel is a distance along that line. With a stride the pixels are laid by their place in the stride (phases), and the gradient
# of the input is made phase by phase: each takes only the taps that reach it.


cdef struct Strip:
    # How the strips of one plane are laid out.
    Py_ssize_t H, W                 # of the plane that is read
    Py_ssize_t top, left            # rows and columns of it before the first output's
    Py_ssize_t stride_h, stride_w   # phases of what is read
    Py_ssize_t rows, strips         # rows of outputs of one strip, and how many strips make a plane
    Py_ssize_t lines, width, phase  # rows of one phase, elements of one row and of one phase
    Py_ssize_t shared               # zeros between two rows that both need
    Py_ssize_t sums                 # elements of the outputs of one phase
    bint direct                     # no line is laid: `filter` says what is read
    cyconv_filter filter
    Py_ssize_t phases_h, phases_w   # of the outputs
    size_t table                    # bytes of the table (of taps, or columns inside the image), shared by all threads
    size_t size                     # bytes of workspace of each thread


cdef inline Py_ssize_t floor_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a // b if a >= 0 else -((-a + b - 1) // b)


cdef Strip plane_strip(const Conv* conv, bint backward) noexcept nogil:
    """Geometry of a whole plane as one strip, before `cut_strip`: `lines` are only those between output and input."""
    cdef Strip s
    cdef const Window* w = &conv.window
    cdef Py_ssize_t reach_h = w.dilation_h * (w.kernel_h - 1), reach_w = w.dilation_w * (w.kernel_w - 1)
    cdef Py_ssize_t columns = ceil_div(conv.W_in, w.stride_w) if backward else conv.W_out
    memset(&s, 0, sizeof(Strip))
    s.stride_h = s.stride_w = s.phases_h = s.phases_w = 1
    if backward:
        # grad_input[q*stride + a] = sum of weight[i] grad_output[q + e], where e = (a + pad - i*dilation) / stride
        s.H, s.W, s.phases_h, s.phases_w = conv.H_out, conv.W_out, w.stride_h, w.stride_w
        s.top, s.left = -first_shift(w.pad_top, reach_h, w.stride_h), -first_shift(w.pad_left, reach_w, w.stride_w)
        s.lines = s.top + (w.stride_h - 1 + w.pad_top) // w.stride_h
        s.width = s.left + (w.stride_w - 1 + w.pad_left) // w.stride_w
        s.rows = ceil_div(conv.H_in, w.stride_h)
    else:
        s.H, s.W, s.stride_h, s.stride_w = conv.H_in, conv.W_in, w.stride_h, w.stride_w
        s.top, s.left = w.pad_top, w.pad_left
        s.lines, s.width = reach_h // w.stride_h, reach_w // w.stride_w
        s.rows = conv.H_out
    s.width += columns
    if s.stride_w == 1:  # the zeros after a row are those before the next, as far as rows of outputs stay apart
        s.shared = max(0, min(s.left, s.width - s.left - s.W, s.width - columns))
        s.width -= s.shared
    return s


cdef void cut_strip(Strip* s, Py_ssize_t rows, Py_ssize_t slack) noexcept nogil:
    """Cut a plane into strips of `rows` rows; full vectors may be read `slack` elements past a line's end."""
    s.strips = ceil_div(s.rows, rows)
    s.rows = rows
    s.lines += rows
    s.phase = round_up(s.lines * s.width + s.shared + slack, 16)


cdef inline Py_ssize_t first_shift(Py_ssize_t pad, Py_ssize_t reach, Py_ssize_t stride) noexcept nogil:
    # The least e of `plane_strip`.
    return -floor_div(reach - pad, stride)


cdef void lay_plane(const Strip* s, const floating* plane, Py_ssize_t first, Py_ssize_t column, floating* line) noexcept nogil:
    """The rows of a strip whose first output is (first, column), by phases; from a column other than 0, a part of one row."""
    cdef Py_ssize_t a, b
    # also what is past the last row: products of whole vectors read it, and would meet what an earlier call left there
    memset(line, 0, s.phase * s.stride_h * s.stride_w * sizeof(floating))
    for a in range(s.stride_h):
        for b in range(s.stride_w):
            lay_rows(plane, s.W, s.H, s.W, first * s.stride_h + a - s.top, s.stride_h, column * s.stride_w + b - s.left,
                     s.stride_w, s.lines, s.width, line)
            line += s.phase


cdef void lay_distances(const Strip* s, const Window* w, Py_ssize_t* distance) noexcept nogil:
    """Of each tap, along the line of a strip."""
    cdef Py_ssize_t i, j, y, x
    for i in range(w.kernel_h):
        for j in range(w.kernel_w):
            y, x = i * w.dilation_h, j * w.dilation_w
            distance[i * w.kernel_w + j] = (y % s.stride_h * s.stride_w + x % s.stride_w) * s.phase + \
                y // s.stride_h * s.width + x // s.stride_w


cdef void lay_phases(const Strip* s, const Window* w, Py_ssize_t* distance) noexcept nogil:
    """For the gradient of the input, phase by phase: the taps that reach it, their distances, and how many they are.

    Each tap reaches one phase: K distances, K taps, then a count for each phase.
    """
    cdef Py_ssize_t K = w.kernel_h * w.kernel_w, a, b, i, j, y, x, k = 0, before
    for a in range(s.phases_h):
        for b in range(s.phases_w):
            before = k
            for i in range(w.kernel_h):
                y = a + w.pad_top - i * w.dilation_h
                if y % w.stride_h != 0:
                    continue
                for j in range(w.kernel_w):
                    x = b + w.pad_left - j * w.dilation_w
                    if x % w.stride_w == 0:
                        distance[k] = (y // w.stride_h + s.top) * s.width + x // w.stride_w + s.left
                        distance[K + k] = i * w.kernel_w + j
                        k += 1
            distance[2 * K + a * s.phases_w + b] = k - before


cdef void spread_taps(const Py_ssize_t* distance, Py_ssize_t taps, Py_ssize_t channels, Py_ssize_t channel,
                      Py_ssize_t* spread) noexcept nogil:
    """The distances of the taps of every channel, whose lines lie `channel` apart, from those of one; may be the same table."""
    cdef Py_ssize_t c, k
    for c in range(channels):
        for k in range(taps):
            spread[c * taps + k] = distance[k] + c * channel


cdef void lay_taps(const Strip* s, const Window* w, bint backward, Py_ssize_t channels, Py_ssize_t channel,
                   Py_ssize_t* table) noexcept nogil:
    """For each phase of the outputs, the distances of its taps, for each of some channels.

    They stand behind those of `lay_phases`: a distance and the place of each tap, and the number of taps of each phase.
    """
    cdef Py_ssize_t taps = w.kernel_h * w.kernel_w, phases = s.phases_h * s.phases_w, phase, first = 0
    cdef Py_ssize_t* distance = table + 2 * taps + phases
    if backward:
        lay_phases(s, w, table)
    else:
        lay_distances(s, w, table)
        table[2 * taps] = taps
    for phase in range(phases):
        spread_taps(table + first, table[2 * taps + phase], channels, channel, distance)
        distance += channels * table[2 * taps + phase]
        first += table[2 * taps + phase]
