# Depthwise convolution (one input channel per group) without gemm: every channel is a task.
#
# The three passes lay out image rows as padded lines in a ring, one for each row of the kernel in reach, and
# run along them. The gradient of the input is the convolution of grad_output, spread by the stride, with
# the rotated filter.

cdef struct Lines:
    # How the rows of one plane are laid out under the taps.
    Py_ssize_t H, W                  # of the plane
    Py_ssize_t pad_top, pad_left
    Py_ssize_t stride_h, stride_w, spread_h, spread_w
    Py_ssize_t phase, length         # elements of one phase, and of one line
    Py_ssize_t reach                 # rows of the ring
    size_t size                      # bytes: the ring, a line of zeros, the filter, places and lines of taps


cdef bint depthwise_applies(const Conv* conv) noexcept nogil:
    # few enough taps for the lines to stay in cache; else columns are no worse
    return conv.C == 1 and conv.window.kernel_h * conv.window.kernel_w <= 256 and conv.W_in <= 1 << 16 and \
        conv.window.stride_w <= 8 and conv.window.stride_h <= 8 and conv.window.dilation_h <= 8 and \
        conv.W_out <= 1 << 16 and conv.window.dilation_w <= 64


cdef Lines line_sizes(const Conv* conv, bint backward_input, size_t itemsize) noexcept nogil:
    cdef Lines s
    cdef const Window* w = &conv.window
    cdef Py_ssize_t lanes = lanes_of(itemsize)
    cdef Py_ssize_t extent_h = w.dilation_h * (w.kernel_h - 1) + 1, extent_w = w.dilation_w * (w.kernel_w - 1) + 1
    cdef Py_ssize_t W_out = conv.W_in if backward_input else conv.W_out
    if backward_input:
        s.H, s.W, s.stride_h, s.stride_w = conv.H_out, conv.W_out, 1, 1
        s.spread_h, s.spread_w = w.stride_h, w.stride_w
        s.pad_top, s.pad_left = extent_h - 1 - w.pad_top, extent_w - 1 - w.pad_left
    else:
        s.H, s.W, s.stride_h, s.stride_w = conv.H_in, conv.W_in, w.stride_h, w.stride_w
        s.spread_h = s.spread_w = 1
        s.pad_top, s.pad_left = w.pad_top, w.pad_left
    s.phase = round_up(W_out, 2 * lanes) + extent_w // s.stride_w + 1
    s.length = round_up(s.phase * s.stride_w, lanes)
    s.reach = extent_h
    s.size = round_up(((s.reach + 1) * s.length + w.kernel_h * w.kernel_w) * itemsize, 64)
    s.size += round_up((w.kernel_w + w.kernel_h + s.reach) * sizeof(Py_ssize_t), 64)
    return s


cdef int depthwise(const Conv* conv, bint backward, const floating* images, const floating* weight,
                   const floating* bias, floating* outputs) noexcept nogil:
    """Forward, or with `backward` the gradient of the input: images and outputs change sides.

    Returns 1; NO_MEMORY; or 0, with nothing done, where the gradient would multiply a weight that is not finite by the zeros
    between and around the rows of grad_output: there is no such term in the sum.
    """
    cdef Py_ssize_t i
    cdef floating check = 0
    if backward:
        for i in range(conv.C_out * conv.K):
            check += 0 * weight[i]
        if check != 0:
            return 0
    cdef Lines s = line_sizes(conv, backward, sizeof(floating))
    cdef Py_ssize_t tasks = conv.N * (conv.C_in if backward else conv.C_out), t
    cdef int threads = team_of(conv.threads, multiply_adds(conv) * 4, tasks)
    cdef char* workspace = <char*>cyconv_acquire(threads * s.size)
    if workspace == NULL:
        return NO_MEMORY
    for t in prange(tasks, num_threads=threads):
        if backward:
            depthwise_backward_plane(conv, &s, t, images, weight, outputs, workspace + threadid() * s.size)
        else:
            depthwise_plane(conv, &s, t, images, weight, bias, outputs, workspace + threadid() * s.size)
    cyconv_release(workspace)
    return 1


cdef void depthwise_plane(const Conv* conv, const Lines* s, Py_ssize_t task, const floating* images,
                          const floating* weight, const floating* bias, floating* outputs, char* workspace) noexcept nogil:
    cdef Py_ssize_t n = task // conv.C_out, o = task % conv.C_out
    slide(conv, s, images + (n * conv.C_in + o // conv.M) * conv.H_in * conv.W_in, weight + o * conv.K,
          bias[o] if bias != NULL else 0, False, outputs + task * conv.L, conv.H_out, conv.W_out, False,
          NULL, workspace)


cdef void depthwise_backward_plane(const Conv* conv, const Lines* s, Py_ssize_t task, const floating* grad_output,
                                   const floating* weight, floating* grad_input, char* workspace) noexcept nogil:
    cdef Py_ssize_t n = task // conv.C_in, c = task % conv.C_in, m, o
    for m in range(conv.M):
        o = c * conv.M + m
        slide(conv, s, grad_output + (n * conv.C_out + o) * conv.L, weight + o * conv.K, 0, m > 0,
              grad_input + task * conv.H_in * conv.W_in, conv.H_in, conv.W_in, True, NULL, workspace)


cdef void slide(const Conv* conv, const Lines* s, const floating* plane, const floating* weight, floating start,
                bint add, floating* output, Py_ssize_t H_out, Py_ssize_t W_out, bint rotated,
                floating* sums, char* workspace) noexcept nogil:
    """Run the window over one plane: fill `output`, or with `sums` add up the gradient of the taps.

    `rotated` turns the filter by half a turn. With `sums`, `output` is only read: it is grad_output.
    """
    cdef const Window* w = &conv.window
    cdef Py_ssize_t taps = w.kernel_h * w.kernel_w
    cdef floating* ring = <floating*>workspace
    cdef floating* zeros = ring + s.reach * s.length  # the line of a row in the padding
    cdef floating* turned = zeros + s.length          # the filter as it is applied
    cdef Py_ssize_t* place = <Py_ssize_t*>(workspace + s.size - round_up(
        (w.kernel_w + w.kernel_h + s.reach) * sizeof(Py_ssize_t), 64))
    cdef floating** lines = <floating**>(place + w.kernel_w)
    cdef Py_ssize_t* held = place + w.kernel_w + w.kernel_h   # which row each line of the ring holds
    cdef Py_ssize_t y, i, j, r
    if sums == NULL:
        for i in range(taps):
            turned[i] = weight[taps - 1 - i if rotated else i]
    memset(zeros, 0, s.length * sizeof(floating))
    for j in range(w.kernel_w):
        place[j] = j * w.dilation_w % s.stride_w * s.phase + j * w.dilation_w // s.stride_w
    for i in range(s.reach):
        held[i] = PY_SSIZE_T_MAX
    for y in range(H_out):
        for i in range(w.kernel_h):
            r = y * s.stride_h - s.pad_top + i * w.dilation_h
            if r < 0 or r % s.spread_h != 0 or r // s.spread_h >= s.H:
                lines[i] = zeros
                continue
            lines[i] = ring + r % s.reach * s.length
            if held[r % s.reach] != r:
                lay_line(plane + r // s.spread_h * s.W, s.W, -s.pad_left, s.stride_w, s.spread_w, s.phase, lines[i])
                held[r % s.reach] = r
        if sums == NULL:
            taps_row(lines, place, w.kernel_h, w.kernel_w, turned, start, add, output + y * W_out, W_out)
        else:
            taps_gradient(lines, place, w.kernel_h, w.kernel_w, output + y * W_out, W_out, sums)


cdef int depthwise_backward_weight(const Conv* conv, const floating* grad_output, const floating* input,
                                   floating* grad_weight) noexcept nogil:
    """0, or NO_MEMORY. Each task owns one filter, for the whole batch."""
    cdef Lines s = line_sizes(conv, False, sizeof(floating))
    cdef Py_ssize_t t
    cdef int threads = team_of(conv.threads, multiply_adds(conv) * 4, conv.C_out)
    cdef size_t sums = round_up(conv.K * lanes_of(sizeof(floating)) * sizeof(floating), 64)
    cdef char* workspace = <char*>cyconv_acquire(threads * (s.size + sums))
    if workspace == NULL:
        return NO_MEMORY
    for t in prange(conv.C_out, num_threads=threads):
        depthwise_filter(conv, &s, t, grad_output, input, grad_weight, workspace + threadid() * (s.size + sums))
    cyconv_release(workspace)
    return 0


cdef void depthwise_filter(const Conv* conv, const Lines* s, Py_ssize_t o, const floating* grad_output,
                           const floating* input, floating* grad_weight, char* workspace) noexcept nogil:
    cdef Py_ssize_t lanes = lanes_of(sizeof(floating)), n, k, l
    cdef floating* sums = <floating*>(workspace + s.size)
    cdef floating total
    memset(sums, 0, conv.K * lanes * sizeof(floating))
    for n in range(conv.N):
        slide(conv, s, input + (n * conv.C_in + o // conv.M) * conv.H_in * conv.W_in, <const floating*>NULL, 0, False,
              <floating*>grad_output + (n * conv.C_out + o) * conv.L, conv.H_out, conv.W_out, False, sums, workspace)
    for k in range(conv.K):
        total = 0
        for l in range(lanes):
            total += sums[k * lanes + l]
        grad_weight[o * conv.K + k] = total
