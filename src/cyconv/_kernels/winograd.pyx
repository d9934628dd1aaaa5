# Winograd convolution of kernels of 2x2 to 5x5 taps: 36 products per tile of 6x6 pixels instead of 100 or 144.
# Forward; and backward wrt the input, which is forward on the rotated, transposed weight.
#
# With a stride s each channel is s*s channels, its phases: every s-th pixel and every s-th tap of the kernel, from
# each place. Their convolutions have stride 1 and kernels of r = ceil(k/s) taps or fewer. Forward adds them up,
# backward each makes its phase of the gradient:
#
#     output[p] = sum over a < s and i of weight[i*s + a] pixel[(p + i)*s + a]
#     pixel[q*s + a] = sum over i of weight[i*s + a] output[q - i]
#
# All channels of one phase precede those of the next. A phase of fewer than r taps has a zero for the last, and with it
# for one of the six values in that direction: those products are left out (forward, of phases of many channels).
#
# A kernel of one row or one column is filtered along that axis: 6 products per tile of 6 pixels. Its parts of r taps are
# phases of every channel too, whose pixels begin r later, one after another.
#
# With a dilation d each image is d*d images, of every d-th pixel: their outputs lie d apart.
#
# For a block of tiles: transform the pixels, a task for each channel; then, a task for each panel of filters,
# transform the weights, multiply, and transform back. The pixels of a block are shared and lie in the L3
# cache, the weights of a panel in the L2 cache of the core that uses them; the transformed weights of all
# filters, several times as large as the weights, are never held. Each sum over channels is one product, in one
# order, whatever the blocks: same bits.

cdef Py_ssize_t PIXEL_BYTES = 6 << 20  # transformed pixels of one block of tiles
cdef size_t MOST_PIXEL_BYTES = 7 << 20 # the same of few tiles with many channels; more is for columns
cdef Py_ssize_t GROUP_BYTES = 600_000  # transformed weights of one task
cdef Py_ssize_t CHAIN = 64             # products added one after another: shorter sums round less
cdef Py_ssize_t MOST_COLUMNS = 512     # tiles side by side in one block
cdef Py_ssize_t MOST_TILES = 480       # in one block
cdef Py_ssize_t SPAN_BYTES = 384       # tiles of one product
cdef Py_ssize_t MOST_STRIDE = 4        # phases of more are too few pixels
cdef Py_ssize_t WINOGRAD_TASKS = 8     # at least, of a block of tiles
cdef Py_ssize_t LEAST_RUN = 32         # channels of a phase that are worth leaving out of a product
cdef Py_ssize_t MOST_TAPS = 16         # along one axis


cdef struct Winograd:
    # One convolution (of one group) as the transforms see it.
    Py_ssize_t N, C, H, W                # images in; N counts each part of an image, C each phase of a channel
    Py_ssize_t read_h, read_w            # rows and columns of these that some window, or of outputs some pixel, reads
    Py_ssize_t reach_h, reach_w          # rows and columns of conv's outputs whose windows reach the image
    Py_ssize_t dilation_h, dilation_w
    Py_ssize_t parts_h, parts_w          # of an image that a dilation divides: as many as it is, or as outputs
    Py_ssize_t M, H_out, W_out           # outputs that tiles cover, of one part and one phase
    cyconv_made made                     # planes out
    Py_ssize_t image_stride, output_stride  # elements from one image to the next
    Py_ssize_t pad_top, pad_left
    cyconv_kernel kernel
    int phases, phases_out               # of each channel that is read, and that is made
    int planes                           # of the values of tiles: 36, or 6 along one axis
    int m_h, m_w                         # outputs of a tile, along a side: m + kernel.r = 7, or 1
    int edge_h                           # rows that it reads below them
    Py_ssize_t weight_out, weight_in     # elements between filters, and between channels
    bint flipped
    Py_ssize_t tile_rows, tile_columns   # of one image
    Py_ssize_t rows, columns             # of a block: rows of tiles of any images, columns
    Py_ssize_t group                     # panels of filters of one task
    Py_ssize_t span                      # tiles of one product
    size_t pixels, weights, scratch      # elements of workspace; weights and scratch are each thread's


cdef struct Runs:
    # The channels that have a weight of one value: `count` times `length` of them, `step` apart.
    Py_ssize_t count, length, step


cdef inline Py_ssize_t apart(Py_ssize_t size) noexcept nogil:
    # Distance between the planes of the values, of `size`: off the powers of two, at which they would share cache lines.
    return round_up(size, 16) + 16


cdef bint winograd_applies(const Conv* conv) noexcept nogil:
    cdef const Window* w = &conv.window
    cdef Py_ssize_t taps = ceil_div(w.kernel_h, w.stride_h)
    return ((taps == ceil_div(w.kernel_w, w.stride_w) and 2 <= taps <= 5 or along_one_axis(w))
            and max(w.stride_h, w.stride_w) <= MOST_STRIDE
            and min(w.stride_h, w.dilation_h) == 1 and min(w.stride_w, w.dilation_w) == 1
            and w.pad_top <= w.dilation_h * (w.kernel_h - 1) and w.pad_left <= w.dilation_w * (w.kernel_w - 1))


cdef inline bint along_one_axis(const Window* w) noexcept nogil:
    return (min(w.kernel_h, w.kernel_w) == 1 and 2 <= max(w.kernel_h, w.kernel_w) <= MOST_TAPS
            and max(w.stride_h, w.stride_w) == 1)


cdef int axis_taps(int taps) noexcept nogil:
    """The r whose parts of a kernel take the fewest products for an output; the last value of a short part is 0."""
    cdef int r, best = 2
    for r in range(3, 5):
        if axis_products(taps, r) < axis_products(taps, best):
            best = r
    return best


cdef inline double axis_products(int taps, int r) noexcept nogil:
    return (6.0 * ceil_div(taps, r) - (taps % r != 0)) / (7 - r)


cdef void block_of_tiles(Winograd* s, Py_ssize_t most, Py_ssize_t lanes) noexcept nogil:
    """Rows and columns of a block of about `most` tiles: whole rows of tiles, or a part of one."""
    most = max(lanes, most)
    s.columns = min(s.tile_columns, most, MOST_COLUMNS)
    if s.columns < s.tile_columns:  # equal parts
        s.columns = min(s.columns, round_up(ceil_div(s.tile_columns, ceil_div(s.tile_columns, s.columns)), 3 * lanes))
    s.rows = 1
    if s.columns == s.tile_columns:
        s.rows = max(1, min(s.N * s.tile_rows, most // s.columns))
        s.rows = max(1, ceil_div(s.N * s.tile_rows, max(1, ceil_div(s.N * s.tile_rows, s.rows))))  # N may be 0


cdef inline Py_ssize_t strip_length(const Winograd* s, Py_ssize_t columns) noexcept nogil:
    # Pixels of one row of the strip: tiles are m apart, and read 8 pixels wide; of tiles one pixel wide, all in a row.
    if not s.kernel.wide:
        return round_up(s.rows * s.columns, 16) + 16
    return s.m_w * columns + 8 - s.m_w


cdef inline Py_ssize_t strip_size(const Winograd* s) noexcept nogil:
    # The rows of the images in a block, each with those that its last tiles reach into.
    if not s.kernel.wide:
        return 6 * strip_length(s, s.columns)
    return (s.rows * s.m_h + ceil_div(s.rows + s.tile_rows, s.tile_rows) * s.edge_h) * strip_length(s, s.columns)


cdef inline size_t table_bytes(const Winograd* s) noexcept nogil:
    # Of the table of a block's tiles, filled up to a whole vector.
    return round_up((s.rows * s.columns + 16) * sizeof(cyconv_tile), 64)


cdef Winograd winograd_sizes(const Conv* conv, bint backward, Py_ssize_t itemsize) noexcept nogil:
    cdef Winograd s
    cdef const Window* w = &conv.window
    cdef Py_ssize_t taps = w.kernel_h * w.kernel_w, lanes = lanes_of(itemsize)
    memset(&s, 0, sizeof(Winograd))
    s.dilation_h = w.dilation_h if w.kernel_h > 1 else 1
    s.dilation_w = w.dilation_w if w.kernel_w > 1 else 1
    s.kernel.height, s.kernel.width = <int>w.kernel_h, <int>w.kernel_w
    s.kernel.stride_h, s.kernel.stride_w = <int>w.stride_h, <int>w.stride_w
    s.kernel.high, s.kernel.wide = w.kernel_h > 1, w.kernel_w > 1
    s.planes = 36 if s.kernel.high and s.kernel.wide else 6
    s.phases = s.phases_out = 1
    if s.planes == 36:
        s.kernel.r = <int>ceil_div(s.kernel.height, s.kernel.stride_h)
    else:
        s.kernel.r = axis_taps(<int>taps)
        s.phases = <int>ceil_div(taps, s.kernel.r)
    s.m_h = 7 - s.kernel.r if s.kernel.high else 1
    s.m_w = 7 - s.kernel.r if s.kernel.wide else 1
    s.edge_h = s.kernel.r - 1 if s.kernel.high else 0
    s.reach_h = min(conv.H_out, ceil_div(conv.H_in + w.pad_top, w.stride_h))
    s.reach_w = min(conv.W_out, ceil_div(conv.W_in + w.pad_left, w.stride_w))
    if backward:
        s.phases_out = s.kernel.stride_h * s.kernel.stride_w
        s.C, s.H, s.W, s.M = conv.M * s.phases, conv.H_out, conv.W_out, conv.C
        s.read_h, s.read_w = s.reach_h, s.reach_w
        s.made.H, s.made.W = conv.H_in, conv.W_in
        # the first output of a tile is pixel[q*s + a - pad] of q = pad // s, for each phase a
        s.made.top, s.made.left = -(w.pad_top % w.stride_h), -(w.pad_left % w.stride_w)
        s.pad_top = w.dilation_h * (ceil_div(w.kernel_h, w.stride_h) - 1) - w.pad_top // w.stride_h
        s.pad_left = w.dilation_w * (ceil_div(w.kernel_w, w.stride_w) - 1) - w.pad_left // w.stride_w
        s.image_stride, s.output_stride = conv.C_out * conv.L, conv.C_in * conv.H_in * conv.W_in
        s.weight_out, s.weight_in, s.flipped = taps, conv.C * taps, True
    else:
        s.phases *= s.kernel.stride_h * s.kernel.stride_w
        s.C, s.H, s.W, s.M = conv.C * s.phases, conv.H_in, conv.W_in, conv.M
        # not what a stride leaves at the bottom and at the right: it would round what it has no part in
        s.read_h = min(s.H, (conv.H_out - 1) * w.stride_h + w.dilation_h * (w.kernel_h - 1) + 1 - w.pad_top)
        s.read_w = min(s.W, (conv.W_out - 1) * w.stride_w + w.dilation_w * (w.kernel_w - 1) + 1 - w.pad_left)
        s.made.H, s.made.W = conv.H_out, conv.W_out
        s.pad_top, s.pad_left = w.pad_top, w.pad_left
        s.image_stride, s.output_stride = conv.C_in * conv.H_in * conv.W_in, conv.C_out * conv.L
        s.weight_out, s.weight_in = conv.C * taps, taps
    s.made.stride_h = s.dilation_h * (w.stride_h if backward else 1)
    s.made.stride_w = s.dilation_w * (w.stride_w if backward else 1)
    s.parts_h, s.parts_w = min(s.dilation_h, s.made.H), min(s.dilation_w, s.made.W)
    s.N = conv.N * s.parts_h * s.parts_w
    s.H_out = ceil_div(s.made.H - s.made.top, s.made.stride_h)
    s.W_out = ceil_div(s.made.W - s.made.left, s.made.stride_w)
    s.tile_rows = ceil_div(s.H_out, s.m_h)
    s.tile_columns = ceil_div(s.W_out, s.m_w)
    block_of_tiles(&s, min(PIXEL_BYTES // (s.planes * s.C * itemsize), MOST_TILES) // (3 * lanes) * (3 * lanes), lanes)
    s.group = 3 if s.rows * s.columns <= 2 * lanes else 4  # GROUP rows, where blocks are tall
    s.group = max(1, min(s.group, ceil_div(s.M, ROWS), GROUP_BYTES // (s.planes * s.C * ROWS * itemsize)))
    s.span = SPAN_BYTES // itemsize
    s.pixels = s.planes * apart(s.C * round_up(s.rows * s.columns, 3 * lanes))
    s.weights = s.group * s.planes * apart(s.C * ROWS)
    s.scratch = max(strip_size(&s), s.planes * apart(s.group * ROWS * s.span) + lanes, taps * ROWS * WINOGRAD_CHANNELS)
    s.scratch = round_up(s.scratch, 64)
    return s


cdef bint winograd_fits(const Conv* conv, int which, size_t itemsize) noexcept nogil:
    """Whether the workspace stays small; a caller who asks for it gets it in any case."""
    return winograd_sizes(conv, which == BACKWARD_INPUT, itemsize).pixels * itemsize <= MOST_PIXEL_BYTES


cdef int winograd(const Conv* conv, bint backward, const floating* images, const floating* weight,
                  const floating* bias, bint relu, floating* outputs) noexcept nogil:
    """Fill `outputs`, and return 1; 0 where a value is not finite, and the direct sum must decide which are; NO_MEMORY."""
    cdef Winograd s = winograd_sizes(conv, backward, sizeof(floating))
    cdef int threads = team_of(conv.threads, multiply_adds(conv), 1 << 20)
    cdef char* workspace = <char*>cyconv_acquire(
        table_bytes(&s) + (s.pixels + threads * (s.weights + s.scratch)) * sizeof(floating))
    cdef Py_ssize_t g
    cdef bint finite = True
    if workspace == NULL:
        return NO_MEMORY
    for g in range(conv.groups):
        finite = finite and winograd_group(
            &s, threads, images + g * (s.C // s.phases) * s.H * s.W, weight + g * conv.M * conv.K,
            bias + g * s.M if bias != NULL else NULL, relu, outputs + g * s.M * s.made.H * s.made.W,
            <cyconv_tile*>workspace, <floating*>(workspace + table_bytes(&s)))
    cyconv_release(workspace)
    return finite


cdef bint winograd_group(const Winograd* s, int threads, const floating* images, const floating* weight,
                         const floating* bias, bint relu, floating* outputs, cyconv_tile* tiles,
                         floating* workspace) noexcept nogil:
    cdef Py_ssize_t all_rows = s.N * s.tile_rows, panels = ceil_div(s.M, s.group * ROWS)
    cdef Py_ssize_t row, column, rows, columns, count, parts, t, bad = 0
    cdef size_t size = s.weights + s.scratch
    cdef floating* pixels = workspace
    workspace += s.pixels
    row = 0
    while row < all_rows:
        rows = min(s.rows, all_rows - row)
        column = 0
        while column < s.tile_columns:
            columns = min(s.columns, s.tile_columns - column)
            count = rows * columns
            lay_tiles(s, row, rows, column, columns, tiles)
            parts = parts_of(s, panels, count)
            for t in prange(s.C, num_threads=threads, schedule="dynamic"):
                winograd_pixels(s, images, t, row, rows, column, columns, tiles, pixels, workspace + threadid() * size)
            for t in prange(panels * parts, num_threads=threads, schedule="dynamic"):
                bad += winograd_filters(s, t // parts * s.group * ROWS, t % parts, parts, tiles, count, pixels, weight,
                                        bias, relu, outputs, workspace + threadid() * size)
            column += columns
        row += rows
    return bad == 0


cdef inline Py_ssize_t parts_of(const Winograd* s, Py_ssize_t panels, Py_ssize_t tiles) noexcept nogil:
    # Few panels: divide the tiles too, though each part transforms the weights again.
    return max(1, min(ceil_div(WINOGRAD_TASKS, panels), tiles // s.span))


cdef void lay_tiles(const Winograd* s, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t column, Py_ssize_t columns,
                    cyconv_tile* tiles) noexcept nogil:
    """Where each tile of a block lies in the strip and in the output plane; the last is repeated to fill a vector."""
    cdef Py_ssize_t length = strip_length(s, columns), i, j, y, n, a, b, strip_row = -s.m_h
    cdef Py_ssize_t whole = min(columns, s.W_out // s.m_w - column)
    # outputs that a stride or dilation parts are no runs; those of columns lie side by side all the same
    if s.kernel.wide and s.made.stride_h * s.made.stride_w > 1:
        whole = 0
    for i in range(rows):
        n = (row + i) // s.tile_rows
        y = (row + i) % s.tile_rows * s.m_h
        a, b = n // s.parts_w % s.parts_h, n % s.parts_w
        strip_row += s.m_h if y > 0 or i == 0 else s.m_h + s.edge_h  # between images, the rows that tiles reach into
        for j in range(columns):
            tiles.pixel = strip_row * length + j * s.m_w
            tiles.y, tiles.x = y * s.made.stride_h + a, (column + j) * s.m_w * s.made.stride_w + b
            tiles.output = n // (s.parts_h * s.parts_w) * s.output_stride + tiles.y * s.made.W + tiles.x
            tiles.whole = <int>max(0, whole - j)
            tiles += 1
    for i in range(16):
        tiles[i] = (tiles - 1)[0]


cdef void lay_strip(const Winograd* s, bint gradient, const floating* images, Py_ssize_t c, Py_ssize_t row,
                    Py_ssize_t rows, Py_ssize_t column, Py_ssize_t columns, floating* strip) noexcept nogil:
    """The pixels under a block of tiles of channel c, or of one of its phases, image by image, padded with zeros.

    Of tiles one pixel wide: first pixel 0 of every tile, then pixel 1 of every tile, ... With `gradient`, the images are
    those of the output.
    """
    cdef Py_ssize_t length = strip_length(s, columns), W = s.W, H_read = s.read_h, W_read = s.read_w, top = 0, left = 0
    cdef Py_ssize_t plane = s.H * s.W, stride = s.image_stride
    cdef Py_ssize_t step_h = s.dilation_h, step_w = s.dilation_w, done = 0, lines, n, first, count, y, x, i
    cdef const floating* image
    if gradient:
        W, H_read, W_read, plane, stride = s.made.W, s.reach_h, s.reach_w, s.made.H * s.made.W, s.output_stride
    else:
        n = s.C // s.phases
        top, left = -s.pad_top, -s.pad_left
        if s.planes == 36:  # a phase of the stride
            top, left = top + c // n // s.kernel.stride_w, left + c // n % s.kernel.stride_w
        elif s.kernel.high:  # a part of the kernel
            top += c // n * s.kernel.r * s.dilation_h
        else:
            left += c // n * s.kernel.r * s.dilation_w
        c %= n
        if not s.flipped:
            step_h, step_w = step_h * s.kernel.stride_h, step_w * s.kernel.stride_w
    images += c * plane
    if not s.kernel.wide:
        memset(strip, 0, strip_size(s) * sizeof(floating))
    while done < rows:
        n = (row + done) // s.tile_rows
        first = (row + done) % s.tile_rows
        count = min(rows - done, s.tile_rows - first)
        lines = count * s.m_h + s.edge_h
        y = first * s.m_h * step_h + n // s.parts_w % s.parts_h + top
        x = column * s.m_w * step_w + n % s.parts_w + left
        image = images + n // (s.parts_h * s.parts_w) * stride
        done += count
        if s.kernel.wide:
            memset(strip, 0, lines * length * sizeof(floating))
            lay_rows(image, W, H_read, W_read, y, step_h, x, step_w, lines, length, strip)
            strip += lines * length
            continue
        for i in range(s.m_h + (0 if gradient else s.edge_h)):  # row i of every tile
            lay_rows(image, W, H_read, W_read, y + i * step_h, s.m_h * step_h, x, step_w, count, columns, strip + i * length)
        strip += count * columns


cdef void winograd_pixels(const Winograd* s, const floating* images, Py_ssize_t c, Py_ssize_t row, Py_ssize_t rows,
                          Py_ssize_t column, Py_ssize_t columns, const cyconv_tile* tiles, floating* pixels,
                          floating* strip) noexcept nogil:
    """pixels[value, panel of tiles, c, tile] of one channel: a product reads its panel in order."""
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t width = 3 * lanes_of(sizeof(floating)), count = rows * columns
    lay_strip(s, False, images, c, row, rows, column, columns, strip)
    tile_values(strip, strip_length(s, columns), tiles, count, &s.kernel, False, pixels + c * width,
                apart(s.C * round_up(count, width)), s.C * width)
    restore_denormals(control)


cdef bint winograd_filters(const Winograd* s, Py_ssize_t m, Py_ssize_t part, Py_ssize_t parts,
                           const cyconv_tile* tiles, Py_ssize_t count, const floating* pixels, const floating* weight,
                           const floating* bias, bint relu, floating* outputs, floating* workspace) noexcept nogil:
    """Filters m.. at one part of the tiles, phase by phase; returns whether a value is not finite."""
    cdef uint64_t control = flush_denormals()
    cdef floating* products = workspace + s.weights  # [value, filter, span]
    cdef Py_ssize_t filters = min(s.group * ROWS, s.M - m), plane = s.made.H * s.made.W
    cdef Py_ssize_t spans = ceil_div(count, s.span), panels = ceil_div(filters, ROWS)
    cdef Py_ssize_t lanes = lanes_of(sizeof(floating)), i, f, first, past
    cdef cyconv_made made = s.made
    cdef int phase
    cdef bint finite = True
    for phase in range(s.phases_out):
        made.top, made.left = s.made.top + phase // s.kernel.stride_w, s.made.left + phase % s.kernel.stride_w
        winograd_weights(s, phase, weight + m * s.weight_out, filters, workspace, products)
        for i in range(part * spans // parts, (part + 1) * spans // parts):
            first, past = i * s.span, min(count, (i + 1) * s.span)
            winograd_products(s, phase, panels, first, past, round_up(count, 3 * lanes), pixels, workspace, products)
            for f in range(filters):
                finite &= output_tiles(products + f * s.span, apart(s.group * ROWS * s.span), tiles + first, past - first,
                                       &s.kernel, bias[m + f] if bias != NULL else 0, relu, &made, outputs + (m + f) * plane)
    restore_denormals(control)
    return not finite


cdef void winograd_weights(const Winograd* s, int phase, const floating* weight, Py_ssize_t filters, floating* weights,
                           floating* packed) noexcept nogil:
    """weights[panel, value, c, ROWS] = G g G^T, of all phases that are read, or of the one that is made."""
    cdef Py_ssize_t channels = s.C // s.phases, plane = apart(s.C * ROWS), p, c
    for p in range(ceil_div(filters, ROWS)):
        c = 0
        while c < channels:
            weight_panel(weight + p * ROWS * s.weight_out + c * s.weight_in, s.weight_out, s.weight_in,
                         <int>min(ROWS, filters - p * ROWS), min(WINOGRAD_CHANNELS, channels - c), &s.kernel,
                         phase, phase + s.phases, s.flipped, weights + c * ROWS, plane, channels * ROWS, packed)
            c += WINOGRAD_CHANNELS
        weights += s.planes * plane


cdef void winograd_products(const Winograd* s, int phase, Py_ssize_t panels, Py_ssize_t first, Py_ssize_t past,
                            Py_ssize_t padded, const floating* pixels, const floating* weights,
                            floating* products) noexcept nogil:
    """products[v] = weights[v] . pixels[v] over the channels, (filters, tiles first..past), for every value v."""
    cdef Py_ssize_t lanes = lanes_of(sizeof(floating)), v, t, c, run, stop
    cdef const floating* panel
    cdef const floating* factors
    cdef Runs r
    for v in range(s.planes):
        r = runs(s, phase, v)
        if r.count == 0:
            memset(products, 0, panels * ROWS * s.span * sizeof(floating))
        factors = weights + v * apart(s.C * ROWS)
        t = first
        while t < past:
            panel = pixels + v * apart(s.C * padded) + t * s.C
            for run in range(r.count):
                c, stop = run * r.step, run * r.step + r.length
                while c < stop:
                    panel_rows(factors + c * ROWS, s.planes * apart(s.C * ROWS), <int>panels, panel + c * 3 * lanes,
                               min(CHAIN, stop - c), products + t - first, s.span, c > 0,
                               <int>min(3, ceil_div(past - t, lanes)))
                    c += CHAIN
            t += 3 * lanes
        products += apart(s.group * ROWS * s.span)


cdef inline Runs runs(const Winograd* s, int phase, Py_ssize_t v) noexcept nogil:
    cdef Runs r
    cdef Py_ssize_t channels, rows = s.kernel.stride_h, columns = s.kernel.stride_w, full_h, full_w
    r.count, r.length, r.step = 1, s.C, s.C
    channels = s.C // s.phases
    if s.planes == 6:
        if v == 5 and s.kernel.height * s.kernel.width < s.phases * s.kernel.r:
            r.length = s.C - channels
        return r
    if s.phases * s.phases_out == 1:
        return r
    # the phases of r taps, not r - 1; value 5 is the last tap, value 0 in reverse order
    full_h, full_w = s.kernel.height - (s.kernel.r - 1) * rows, s.kernel.width - (s.kernel.r - 1) * columns
    if s.flipped:
        r.count = not (v // 6 == 0 and phase // columns >= full_h or v % 6 == 0 and phase % columns >= full_w)
    elif channels >= LEAST_RUN:
        rows = full_h if v // 6 == 5 else rows
        columns = full_w if v % 6 == 5 else columns
        r.step = s.kernel.stride_w * channels
        r.count = 1 if columns == s.kernel.stride_w else rows
        r.length = rows * r.step if r.count == 1 else columns * channels
    return r
