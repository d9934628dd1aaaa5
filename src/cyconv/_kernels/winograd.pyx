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
# Pixels and weights are transformed, multiplied value by value, and the products transformed back, for some tiles and some
# filters at a time. Either the transformed weights of all filters are shared, and a task makes the pixels of some tiles,
# which stay in its core's L2 cache (`winograd_by_tiles`); or, where so many weights would fill the caches, or tiles are few,
# the pixels of a block of tiles are shared and lie in the L3 cache, and a task makes the weights of some filters
# (`winograd_by_filters`). Each sum over channels is one product, in one order, whatever the blocks: same bits.


cdef int winograd(const Conv* conv, bint backward, const floating* images, const floating* weight,
                  const floating* bias, bint relu, floating* outputs) noexcept nogil:
    """Fill `outputs`, and return 1; 0 where a value is not finite, and the direct sum must decide which are; NO_MEMORY."""
    cdef Winograd s = winograd_sizes(conv, backward, sizeof(floating))
    cdef int threads = team_of(conv.threads, multiply_adds(conv), 1 << 20)
    cdef char* workspace = <char*>cyconv_acquire(s.shared + threads * s.own)
    cdef bint finite
    if workspace == NULL:
        return NO_MEMORY
    if s.by_tiles:
        finite = winograd_by_tiles(&s, threads, images, weight, bias, relu, outputs, workspace)
    else:
        finite = winograd_by_filters(&s, threads, images, weight, bias, relu, outputs, workspace)
    cyconv_release(workspace)
    return finite


cdef bint winograd_by_tiles(const Winograd* s, int threads, const floating* images, const floating* weight,
                            const floating* bias, bint relu, floating* outputs, char* workspace) noexcept nogil:
    """For some groups the weights, a task for each panel of filters; then a task for each block of tiles and part of the
    filters."""
    cdef Py_ssize_t blocks = <Py_ssize_t>tile_blocks(s), g = 0, groups, t, bad = 0
    cdef char* own = workspace + s.shared
    while g < s.groups and bad == 0:
        groups = min(s.batch, s.groups - g)
        for t in prange(groups * s.phases_out * s.panels, num_threads=threads, schedule="dynamic"):
            winograd_panel(s, t, weight, <floating*>workspace, <floating*>(own + threadid() * s.own))
        for t in prange(groups * blocks * s.parts, num_threads=threads, schedule="dynamic"):
            bad += winograd_tiles(s, t, blocks, images, <const floating*>workspace, bias, relu, outputs,
                                  own + threadid() * s.own)
        images += groups * s.image_group
        weight += groups * s.weight_group
        outputs += groups * s.M * s.made.H * s.made.W
        if bias != NULL:
            bias += groups * s.M
        g += groups
    return bad == 0


cdef void winograd_panel(const Winograd* s, Py_ssize_t task, const floating* weight, floating* weights,
                         floating* packed) noexcept nogil:
    """weights[group, phase, panel]: see `winograd_weights`."""
    cdef uint64_t control = flush_denormals()
    weights += task * s.weights
    cdef Py_ssize_t m = digit(&task, s.panels) * s.width
    cdef int phase = <int>digit(&task, s.phases_out)
    winograd_weights(s, phase, weight + task * s.weight_group + m * s.weight_out, m, weights, packed)
    restore_denormals(control)


cdef bint winograd_tiles(const Winograd* s, Py_ssize_t task, Py_ssize_t blocks, const floating* images,
                         const floating* weights, const floating* bias, bint relu, floating* outputs,
                         char* workspace) noexcept nogil:
    """One block of tiles: its pixels, then some filters, panel by panel; returns whether a value is not finite."""
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t across = ceil_div(s.tile_columns, s.columns), lanes = lanes_of(sizeof(floating))
    cdef Py_ssize_t part = digit(&task, s.parts), column = digit(&task, across) * s.columns
    cdef Py_ssize_t row = digit(&task, blocks // across) * s.rows
    cdef Py_ssize_t rows = min(s.rows, s.N * s.tile_rows - row), columns = min(s.columns, s.tile_columns - column)
    cdef Py_ssize_t c, i
    cdef cyconv_tile* tiles = <cyconv_tile*>workspace
    cdef floating* pixels = <floating*>(workspace + table_bytes(s))
    cdef floating* products = pixels + s.pixels
    cdef int phase
    cdef bint finite = True
    lay_tiles(s, row, rows, column, columns, tiles)
    for c in range(pixel_tasks(s, lanes)):
        winograd_pixels(s, images + task * s.image_group, c * lanes, row, rows, column, columns, tiles, pixels, products)
    weights += task * s.phases_out * s.panels * s.weights
    bias += task * s.M if bias != NULL else 0
    outputs += task * s.M * s.made.H * s.made.W
    for i in range(part * s.panels // s.parts, (part + 1) * s.panels // s.parts):
        for phase in range(s.phases_out):
            finite &= winograd_outputs(s, phase, i * s.width, tiles, 0, rows * columns, rows * columns, pixels,
                                       weights + (phase * s.panels + i) * s.weights, bias, relu, outputs, products)
    restore_denormals(control)
    return not finite


cdef bint winograd_by_filters(const Winograd* s, int threads, const floating* images, const floating* weight,
                              const floating* bias, bint relu, floating* outputs, char* workspace) noexcept nogil:
    """For each block of tiles the pixels, a task for some channels; then a task for each panel of filters."""
    cdef Py_ssize_t all_rows = s.N * s.tile_rows, lanes = lanes_of(sizeof(floating))
    cdef Py_ssize_t g, row, column, rows, columns, parts, t, bad = 0
    cdef cyconv_tile* tiles = <cyconv_tile*>workspace
    cdef floating* pixels = <floating*>(workspace + table_bytes(s))
    cdef char* own = workspace + s.shared
    for g in range(s.groups):
        row = 0
        while row < all_rows and bad == 0:
            rows = min(s.rows, all_rows - row)
            column = 0
            while column < s.tile_columns:
                columns = min(s.columns, s.tile_columns - column)
                lay_tiles(s, row, rows, column, columns, tiles)
                parts = parts_of(s, rows * columns)
                for t in prange(pixel_tasks(s, lanes), num_threads=threads, schedule="dynamic"):
                    winograd_pixels(s, images, t * lanes, row, rows, column, columns, tiles, pixels,
                                    <floating*>(own + threadid() * s.own))
                for t in prange(s.panels * parts, num_threads=threads, schedule="dynamic"):
                    bad += winograd_filters(s, t // parts * s.width, t % parts, parts, tiles, rows * columns, pixels, weight,
                                            bias, relu, outputs, <floating*>(own + threadid() * s.own))
                column += columns
            row += rows
        images += s.image_group
        weight += s.weight_group
        outputs += s.M * s.made.H * s.made.W
        if bias != NULL:
            bias += s.M
    return bad == 0


cdef inline Py_ssize_t parts_of(const Winograd* s, Py_ssize_t tiles) noexcept nogil:
    # Few panels: divide the tiles too, though each part transforms the weights again.
    return max(1, min(ceil_div(WINOGRAD_TASKS, s.panels), tiles // s.span))


cdef void lay_tiles(const Winograd* s, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t column, Py_ssize_t columns,
                    cyconv_tile* tiles) noexcept nogil:
    """Where each tile of a block lies in the strip and in the output plane."""
    cdef Py_ssize_t length = strip_length(s, columns), i, j, y, n, a, b, strip_row = -s.m_h
    for i in range(rows):
        n = (row + i) // s.tile_rows
        y = (row + i) % s.tile_rows * s.m_h
        a, b = n // s.parts_w % s.parts_h, n % s.parts_w
        strip_row += s.m_h if y > 0 or i == 0 else s.m_h + s.edge_h  # between images, the rows that tiles reach into
        for j in range(columns):
            tiles.pixel = strip_row * s.unit_h * length + j * s.m_w * s.unit_w
            tiles.y, tiles.x = y * s.made.stride_h + a, (column + j) * s.m_w * s.made.stride_w + b
            tiles.output = n // (s.parts_h * s.parts_w) * s.output_stride + tiles.y * s.made.W + tiles.x
            tiles.run = columns - j
            tiles += 1


cdef void lay_strips(const Winograd* s, bint gradient, const floating* images, Py_ssize_t c, Py_ssize_t count,
                     Py_ssize_t row, Py_ssize_t rows, Py_ssize_t column, Py_ssize_t columns,
                     floating* strips) noexcept nogil:
    """The strips of `count` channels from c on, at most a vector of them, interleaved."""
    cdef Py_ssize_t size = strip_size(s), lanes = lanes_of(sizeof(floating)), n = s.C // s.phases, i
    cdef floating* plain = strips + lanes * (size + lanes)
    cdef Py_ssize_t step_w = s.dilation_w * (1 if s.flipped else s.kernel.stride_w)
    if gradient:
        step_w, n = s.dilation_w, PY_SSIZE_T_MAX
    step_w //= s.unit_w
    if step_w == 1 and count == lanes and c // n == (c + count - 1) // n:  # neighbours, of one phase
        lay_strip(s, gradient, images, c, True, row, rows, column, columns, strips)
        return
    for i in range(count):
        lay_strip(s, gradient, images, c + i, False, row, rows, column, columns, plain + i * size)
    if count < lanes:  # what an earlier call left there may be NaN, and slow
        memset(plain + count * size, 0, (lanes - count) * size * sizeof(floating))
    interleave(plain, size, size, strips)


cdef void lay_strip(const Winograd* s, bint gradient, const floating* images, Py_ssize_t c, bint interleaved,
                    Py_ssize_t row, Py_ssize_t rows, Py_ssize_t column, Py_ssize_t columns,
                    floating* strip) noexcept nogil:
    """The pixels under a block of tiles of channel c, or of one of its phases, image by image, padded with zeros.

    With `gradient`, the images are those of the output; with `interleaved`, a vector of channels is laid.
    """
    cdef Py_ssize_t length = strip_length(s, columns), W = s.W, H_read = s.read_h, W_read = s.read_w, top = 0, left = 0
    cdef Py_ssize_t plane = s.H * s.W, stride = s.image_stride
    cdef Py_ssize_t step_h = s.dilation_h, step_w = s.dilation_w, done = 0, lines, n, first, count, y, x
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
    step_h, step_w = step_h // s.unit_h, step_w // s.unit_w
    images += c * plane
    while done < rows:
        n = (row + done) // s.tile_rows
        first = (row + done) % s.tile_rows
        count = min(rows - done, s.tile_rows - first)
        lines = (count * s.m_h + s.edge_h) * s.unit_h
        y = first * s.m_h * s.unit_h * step_h + n // s.parts_w % s.parts_h + top
        x = column * s.m_w * s.unit_w * step_w + n % s.parts_w + left
        image = images + n // (s.parts_h * s.parts_w) * stride
        done += count
        if interleaved:
            lay_channels(image, plane, W, H_read, W_read, y, step_h, x, lines, length, strip)
            strip += lines * length * lanes_of(sizeof(floating))
        else:
            memset(strip, 0, lines * length * sizeof(floating))
            lay_rows(image, W, H_read, W_read, y, step_h, x, step_w, lines, length, strip)
            strip += lines * length


cdef inline Py_ssize_t pixel_tasks(const Winograd* s, Py_ssize_t lanes) noexcept nogil:
    # Vectors of channels: of each phase, or with all their phases.
    return ceil_div(s.C, lanes) // (s.unit_h * s.unit_w)


cdef void winograd_pixels(const Winograd* s, const floating* images, Py_ssize_t c, Py_ssize_t row, Py_ssize_t rows,
                          Py_ssize_t column, Py_ssize_t columns, const cyconv_tile* tiles, floating* pixels,
                          floating* strips) noexcept nogil:
    """pixels[value, tile, c..] of a vector of channels, or [value, tile, (phase, c..)] of all its phases."""
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t count = rows * columns, length = strip_length(s, columns), lanes = lanes_of(sizeof(floating))
    cdef int i, j
    lay_strips(s, False, images, c, min(lanes, s.C - c), row, rows, column, columns, strips)
    for i in range(s.unit_h):
        for j in range(s.unit_w):
            tile_values(strips + (i * length + j) * lanes, length * s.unit_h, s.unit_w, tiles, count, &s.kernel, False,
                        pixels + (i * s.unit_w + j) * (s.C // s.phases) + c, apart(round_up(count, ROWS) * s.length),
                        s.length, 0)
    restore_denormals(control)


cdef bint winograd_filters(const Winograd* s, Py_ssize_t m, Py_ssize_t part, Py_ssize_t parts,
                           const cyconv_tile* tiles, Py_ssize_t count, const floating* pixels, const floating* weight,
                           const floating* bias, bint relu, floating* outputs, floating* workspace) noexcept nogil:
    """The panel of filters m.. at one part of the tiles, phase by phase; returns whether a value is not finite."""
    cdef uint64_t control = flush_denormals()
    cdef floating* products = workspace + s.weights
    cdef Py_ssize_t spans = ceil_div(count, s.span)
    cdef int phase
    cdef bint finite = True
    for phase in range(s.phases_out):
        winograd_weights(s, phase, weight + m * s.weight_out, m, workspace, products)
        finite &= winograd_outputs(s, phase, m, tiles, part * spans // parts * s.span,
                                   min(count, (part + 1) * spans // parts * s.span), count, pixels, workspace, bias, relu,
                                   outputs, products)
    restore_denormals(control)
    return not finite


cdef inline Py_ssize_t panel_width(const Winograd* s, Py_ssize_t m, Py_ssize_t lanes) noexcept nogil:
    # Of the panel of filters m..: the last may be narrower.
    return min(s.width, round_up(s.M - m, lanes))


cdef inline cyconv_ahead outputs_ahead(const Winograd* s, const cyconv_tile* first, const cyconv_tile* last,
                                       const floating* outputs, Py_ssize_t filters) noexcept nogil:
    """The outputs of some tiles, for the micro-kernel to fetch: a run of each plane. Of several images, nothing: those are near."""
    cdef cyconv_ahead ahead
    cdef Py_ssize_t end = last.output + (s.m_h - 1) * s.made.stride_h * s.made.W + s.m_w, size = s.made.H * s.made.W
    ahead.at = <const char*>(outputs + first.output)
    ahead.bytes, ahead.step = (end - first.output) * sizeof(floating), size * sizeof(floating)
    ahead.runs = filters if last.output - first.output < size else 0
    ahead.write, ahead.after, ahead.done = True, NULL, 0
    return ahead


cdef bint winograd_outputs(const Winograd* s, int phase, Py_ssize_t m, const cyconv_tile* tiles, Py_ssize_t first,
                           Py_ssize_t past, Py_ssize_t count, const floating* pixels, const floating* weights,
                           const floating* bias, bint relu, floating* outputs, floating* products) noexcept nogil:
    """A panel of filters at tiles first..past of a block of `count`; returns whether all values are finite."""
    cdef Py_ssize_t lanes = lanes_of(sizeof(floating)), width = panel_width(s, m, lanes), size = s.made.H * s.made.W, here, i, f
    cdef cyconv_made made = s.made
    cdef cyconv_ahead ahead
    cdef bint finite = True
    made.top, made.left = s.made.top + phase // s.kernel.stride_w, s.made.left + phase % s.kernel.stride_w
    while first < past:
        here = min(s.span, past - first)
        ahead = outputs_ahead(s, tiles + first, tiles + first + here - 1, outputs + m * size, min(width, s.M - m))
        winograd_products(s, phase, width, first, here, count, pixels, weights, products, &ahead)
        for i in range(width // lanes):
            f = i * lanes
            finite &= output_tiles(products + f, apart(s.span * width), width, tiles + first, here, &s.kernel,
                                   bias + m + f if bias != NULL else NULL, min(lanes, s.M - m - f), relu, &made,
                                   outputs + (m + f) * size, size)
        first += here
    return finite


cdef void winograd_weights(const Winograd* s, int phase, const floating* weight, Py_ssize_t m, floating* weights,
                           floating* packed) noexcept nogil:
    """weights[value, c, filter] = G g G^T of the panel of filters m.., of all phases that are read, or of the one made."""
    cdef Py_ssize_t channels = s.C // s.phases, width = panel_width(s, m, lanes_of(sizeof(floating))), c = 0
    while c < channels:
        weight_panel(weight + c * s.weight_in, s.weight_out, s.weight_in, min(s.width, s.M - m), width,
                     min(WINOGRAD_CHANNELS, channels - c), &s.kernel, phase, phase + s.phases, s.flipped,
                     weights + c * width, apart(s.C * width), channels * width, packed)
        c += WINOGRAD_CHANNELS


cdef void winograd_products(const Winograd* s, int phase, Py_ssize_t width, Py_ssize_t first, Py_ssize_t tiles,
                            Py_ssize_t count, const floating* pixels, const floating* weights,
                            floating* products, cyconv_ahead* ahead) noexcept nogil:
    """products[v] = pixels[v] . weights[v] over the channels, (tiles, filters), for every value v and `tiles` tiles."""
    cdef Py_ssize_t v, t, c, run, stop, rows
    cdef const floating* a
    cdef const floating* b
    cdef Runs r
    pixels += first * s.length
    for v in range(s.planes):
        r = runs(s, phase, v)
        if r.count == 0:
            memset(products, 0, tiles * width * sizeof(floating))
        t = 0
        while t < tiles:  # sums stay in the L1 cache from run to run
            rows = min(PRODUCT_TILES, tiles - t)
            for run in range(r.count):
                c, stop = run * r.step, run * r.step + r.length
                while c < stop:
                    a = pixels + v * apart(round_up(count, ROWS) * s.length) + t * s.length + c
                    b = weights + v * apart(s.C * width) + c * width
                    panel_rows(a, s.length, True, <int>rows, b, min(CHAIN, stop - c), products + t * width, width, c > 0,
                               <int>(width // lanes_of(sizeof(floating))), ahead)
                    c += CHAIN
            t += rows
        products += apart(s.span * width)
