# Depthwise convolution of small planes. Along a row most lanes of a vector would be idle; here they are channels. The planes
# of a vector of channels are transposed into one line of vectors, as strips.pyx lays it: padded with zeros, by the phases of
# the stride. Every tap is a distance along the line, in all three passes; outputs are transposed back.
#
# A task is a vector of channels of one image, or for the gradient of the weight of some images, whose sums are added in their
# order: same bits.

cdef size_t SMALL_BYTES = 48 << 10    # of a line, outputs and weights: in the L1 cache,
cdef size_t LARGEST_BYTES = 512 << 10 # or in the L2 cache


cdef struct Small:
    Strip strip
    Py_ssize_t pixels, outputs   # of a plane that is read, and of one that is made; or, wrt the weight, of both sides
    Py_ssize_t rows, columns     # of the latter
    Py_ssize_t blocks, parts     # vectors of channels; parts of the batch, wrt the weight
    size_t line, out, weights    # elements of workspace of each thread; wrt the weight `out` is grad_output, `weights` sums
    size_t table, sums, own      # bytes: of the places of pixels, distances and taps, and of the sums of all tasks wrt the
                                 # weight, shared; and for each thread


cdef bint small_planes(const Conv* conv, int step, size_t itemsize) noexcept nogil:
    """Whether lanes are channels: where a row fills no vector, nor half a one of 16 lanes, or comes from phases; wrt the weight
    wherever all stays in cache."""
    cdef Py_ssize_t lanes = lanes_of(itemsize), read = conv.H_in * conv.W_in
    cdef Small s
    if conv.M > 1 or conv.C_out < lanes or lanes < 4 or min(read, conv.L) < lanes:
        return False
    s = small_sizes(conv, step, itemsize)
    if step == BACKWARD_WEIGHT:
        return s.own <= LARGEST_BYTES
    return s.own <= SMALL_BYTES and (s.columns < min(lanes, 9) or s.strip.phases_h * s.strip.phases_w > 1)


cdef Strip whole_strip(const Conv* conv, bint backward) noexcept nogil:
    cdef Strip strip = plane_strip(conv, backward)
    cut_strip(&strip, strip.rows, 8)  # up to so many positions behind a row are read
    return strip


cdef Small small_sizes(const Conv* conv, int step, size_t itemsize) noexcept nogil:
    cdef Small s
    cdef Py_ssize_t lanes = lanes_of(itemsize)
    s.strip = whole_strip(conv, step == BACKWARD_INPUT)
    s.rows, s.columns = conv.H_out, conv.W_out
    if step == BACKWARD_INPUT:
        s.rows, s.columns = conv.H_in, conv.W_in
    s.pixels, s.outputs = s.strip.H * s.strip.W, s.rows * s.columns
    s.blocks = ceil_div(conv.C_out, lanes)
    s.line = (s.strip.phase * s.strip.stride_h * s.strip.stride_w + 1) * lanes  # and a place for pixels under no tap
    s.out, s.weights = s.outputs * lanes, (conv.K + 1) * lanes                  # and the bias
    s.parts = max(1, min(conv.N, ceil_div(TASKS, s.blocks)))
    s.sums = 0
    if step == BACKWARD_WEIGHT and s.parts > 1:
        s.sums = round_up(s.blocks * s.parts * conv.K * lanes * itemsize, 64)
    s.table = round_up((s.pixels + s.outputs + 2 * conv.K + s.strip.phases_h * s.strip.phases_w) * sizeof(Py_ssize_t), 64)
    s.own = round_up((s.line + s.out + s.weights) * itemsize, 64)
    return s


cdef void lay_small(const Small* s, const Conv* conv, int step, Py_ssize_t lanes, Py_ssize_t* place) noexcept nogil:
    """The tables: where in the line each pixel that is read goes, and where in their own order; distances; taps in the order
    of the phases, and how many each phase has."""
    cdef const Strip* t = &s.strip
    cdef Py_ssize_t* distance = place + s.pixels + s.outputs
    cdef Py_ssize_t y, x, a, b
    for y in range(t.H):
        for x in range(t.W):
            a, b = y + t.top, x + t.left
            place[0] = t.phase * t.stride_h * t.stride_w * lanes
            if a >= 0 and b >= 0 and a // t.stride_h < t.lines and b // t.stride_w < t.width:
                place[0] = ((a % t.stride_h * t.stride_w + b % t.stride_w) * t.phase + a // t.stride_h * t.width
                            + b // t.stride_w) * lanes
            place += 1
    for y in range(s.outputs):
        place[y] = y * lanes
    if step == BACKWARD_INPUT:
        lay_phases(t, &conv.window, distance)
    else:
        lay_distances(t, &conv.window, distance)
        for y in range(conv.K):
            distance[conv.K + y] = y
        distance[2 * conv.K] = conv.K
    for y in range(2 * conv.K):
        distance[y] *= lanes


cdef int depthwise_small(const Conv* conv, bint backward, const floating* images, const floating* weight, const floating* bias,
                         bint relu, floating* outputs) noexcept nogil:
    """`depthwise` of small planes: 1, or NO_MEMORY."""
    cdef int step = BACKWARD_INPUT if backward else FORWARD, t
    cdef Small s = small_sizes(conv, step, sizeof(floating))
    cdef Py_ssize_t tasks = conv.N * s.blocks
    cdef int threads = team_of(conv.threads, multiply_adds(conv) * 4, tasks)
    cdef char* workspace = <char*>cyconv_acquire(s.table + threads * s.own)
    if workspace == NULL:
        return NO_MEMORY
    lay_small(&s, conv, step, lanes_of(sizeof(floating)), <Py_ssize_t*>workspace)
    if threads == 1:
        small_part(conv, &s, 0, tasks, images, weight, bias, relu, outputs, <Py_ssize_t*>workspace,
                   <floating*>(workspace + s.table))
    else:
        for t in prange(threads, num_threads=threads):
            small_part(conv, &s, tasks * t // threads, tasks * (t + 1) // threads, images, weight, bias, relu,
                       outputs, <Py_ssize_t*>workspace, <floating*>(workspace + s.table + t * s.own))
    cyconv_release(workspace)
    return 1


cdef void small_part(const Conv* conv, const Small* s, Py_ssize_t task, Py_ssize_t past, const floating* images,
                     const floating* weight, const floating* bias, bint relu, floating* outputs, const Py_ssize_t* place,
                     floating* line) noexcept nogil:
    """The tasks task..past; all images of a vector of channels, then the next."""
    cdef uint64_t control = flush_denormals()
    cdef const Strip* t = &s.strip
    cdef Py_ssize_t lanes = lanes_of(sizeof(floating)), H = s.rows, W = s.columns, c, n, count, l, a, b, k, packed = -1
    cdef const Py_ssize_t* distance = place + s.pixels + s.outputs
    cdef floating* out = line + s.line
    cdef floating* weights = out + s.out
    cdef floating* start = weights + conv.K * lanes
    memset(line, 0, s.line * sizeof(floating))
    for task in range(task, past):
        c, n = task // conv.N * lanes, task % conv.N
        count = min(lanes, conv.C_out - c)
        if c != packed:
            transpose(weight + c * conv.K, conv.K, count, conv.K, lanes, weights)
            memset(start, 0, lanes * sizeof(floating))
            if bias != NULL:
                memcpy(start, bias + c, count * sizeof(floating))
            packed = c
        lay_vectors(images + (n * conv.C_out + c) * s.pixels, s.pixels, count, place, line)
        k = 0
        for a in range(t.phases_h):
            for b in range(t.phases_w):
                l = distance[2 * conv.K + a * t.phases_w + b]
                vector_taps(line, t.width * lanes, distance + k, distance + conv.K + k, l, weights, start, relu,
                            ceil_div(H - a, t.phases_h), ceil_div(W - b, t.phases_w), out + (a * W + b) * lanes,
                            t.phases_h * W * lanes, t.phases_w * lanes)
                k += l
        store_planes(out, s.outputs, count, outputs + (n * conv.C_out + c) * s.outputs)
    restore_denormals(control)


cdef int small_backward_weight(const Conv* conv, const floating* grad_output, const floating* input,
                               floating* grad_weight) noexcept nogil:
    """`depthwise_backward_weight` of small planes: 1, or NO_MEMORY."""
    cdef Small s = small_sizes(conv, BACKWARD_WEIGHT, sizeof(floating))
    cdef Py_ssize_t tasks = s.blocks * s.parts
    cdef int threads = team_of(conv.threads, multiply_adds(conv) * 4, tasks), t
    cdef char* workspace = <char*>cyconv_acquire(s.table + s.sums + threads * s.own)
    cdef char* own = workspace + s.table + s.sums
    cdef floating* sums = <floating*>(workspace + s.table)
    if workspace == NULL:
        return NO_MEMORY
    lay_small(&s, conv, BACKWARD_WEIGHT, lanes_of(sizeof(floating)), <Py_ssize_t*>workspace)
    if threads == 1:
        small_sums(conv, &s, 0, tasks, grad_output, input, sums, grad_weight, <Py_ssize_t*>workspace, <floating*>own)
    else:
        for t in prange(threads, num_threads=threads):
            small_sums(conv, &s, tasks * t // threads, tasks * (t + 1) // threads, grad_output, input, sums, grad_weight,
                       <Py_ssize_t*>workspace, <floating*>(own + t * s.own))
    for t in range(s.blocks if s.parts > 1 else 0):
        small_weights(conv, &s, t, sums + t * s.parts * conv.K * lanes_of(sizeof(floating)), grad_weight)
    cyconv_release(workspace)
    return 1


cdef void small_weights(const Conv* conv, const Small* s, Py_ssize_t block, const floating* sums,
                        floating* grad_weight) noexcept nogil:
    """The gradients of the filters of one vector, from the sums of its parts."""
    cdef Py_ssize_t lanes = lanes_of(sizeof(floating)), size = conv.K * lanes, c = block * lanes, l, k, part
    cdef floating total
    for l in range(min(lanes, conv.C_out - c)):
        for k in range(conv.K):
            total = sums[k * lanes + l]
            for part in range(1, s.parts):
                total += sums[part * size + k * lanes + l]
            grad_weight[(c + l) * conv.K + k] = total


cdef void small_sums(const Conv* conv, const Small* s, Py_ssize_t task, Py_ssize_t past, const floating* grad_output,
                     const floating* input, floating* sums, floating* grad_weight, const Py_ssize_t* place,
                     floating* line) noexcept nogil:
    """sums[vector of channels, part of the batch, tap] of the tasks task..past; or the gradient, where a part is all."""
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t lanes = lanes_of(sizeof(floating)), size = conv.K * lanes, c, n, count, part
    cdef floating* grads = line + s.line
    cdef floating* own = grads + s.out
    memset(line, 0, s.line * sizeof(floating))
    for task in range(task, past):
        if s.parts > 1:
            own = sums + task * size
        memset(own, 0, size * sizeof(floating))
        c, part = task // s.parts * lanes, task % s.parts
        count = min(lanes, conv.C_out - c)
        for n in range(part * conv.N // s.parts, (part + 1) * conv.N // s.parts):
            lay_vectors(input + (n * conv.C_out + c) * s.pixels, s.pixels, count, place, line)
            lay_vectors(grad_output + (n * conv.C_out + c) * s.outputs, s.outputs, count, place + s.pixels, grads)
            vector_tap_sums(line, s.strip.width * lanes, place + s.pixels + s.outputs, conv.K, grads, conv.H_out, conv.W_out,
                            own)
        if s.parts == 1:
            small_weights(conv, s, task, own, grad_weight)
    restore_denormals(control)
