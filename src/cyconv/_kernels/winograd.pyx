# Winograd convolution of 3x3 and 5x5 kernels at stride 1: 36 products per tile of 6x6 pixels instead of
# 144 or 100. Forward; and backward wrt the input, which is forward on the rotated, transposed weight.
#
# For a block of tiles: transform the pixels, a task for each channel; then, a task for each panel of filters,
# transform the weights, multiply, and transform back. The pixels of a block are shared and lie in the L3
# cache, the weights of a panel in the L2 cache of the core that uses them; the transformed weights of all
# filters, four times as large as the weights, are never held. Each sum over channels is one product, in one
# order, whatever the blocks: same bits.

cdef Py_ssize_t TILE_VALUES = 36
cdef Py_ssize_t PIXEL_BYTES = 4 << 20  # transformed pixels of one block of tiles
cdef Py_ssize_t GROUP_BYTES = 600_000  # transformed weights of one task
cdef Py_ssize_t CHAIN = 128            # products added one after another: shorter sums round less
cdef Py_ssize_t MOST_COLUMNS = 512     # tiles side by side in one block


cdef struct Winograd:
    # One convolution (of one group) as the transforms see it.
    Py_ssize_t N, C, H, W                # images in
    Py_ssize_t M, H_out, W_out           # images out
    Py_ssize_t image_stride, output_stride  # elements from one image to the next
    Py_ssize_t pad_top, pad_left
    int m, r                             # outputs of a tile and kernel size, m + r = 7
    Py_ssize_t weight_out, weight_in     # elements between filters, and between channels
    bint flipped
    Py_ssize_t tile_rows, tile_columns   # of one image
    Py_ssize_t rows, columns             # of a block: rows of tiles of any images, columns
    Py_ssize_t group                     # panels of filters of one task
    Py_ssize_t span                      # tiles of one product
    size_t pixels, weights, scratch      # elements of workspace; weights and scratch are each thread's


cdef inline Py_ssize_t apart(Py_ssize_t size) noexcept nogil:
    # Distance between 36 planes of `size`: off the powers of two, at which they would share cache lines.
    return round_up(size, 16) + 16


cdef bint winograd_applies(const Conv* conv) noexcept nogil:
    cdef const Window* w = &conv.window
    return (w.kernel_h == w.kernel_w and (w.kernel_h == 3 or w.kernel_h == 5)
            and w.stride_h == 1 and w.stride_w == 1 and w.dilation_h == 1 and w.dilation_w == 1
            and max(w.pad_top, w.pad_left) < w.kernel_h)


cdef Winograd winograd_sizes(const Conv* conv, bint backward, Py_ssize_t itemsize) noexcept nogil:
    cdef Winograd s
    cdef Py_ssize_t taps = conv.window.kernel_h * conv.window.kernel_w
    cdef Py_ssize_t lanes = lanes_of(itemsize), tiles
    memset(&s, 0, sizeof(Winograd))
    s.N = conv.N
    s.r = <int>conv.window.kernel_h
    s.m = 7 - s.r
    if backward:
        s.C, s.H, s.W, s.M, s.H_out, s.W_out = conv.M, conv.H_out, conv.W_out, conv.C, conv.H_in, conv.W_in
        s.image_stride = conv.C_out * conv.L
        s.output_stride = conv.C_in * conv.H_in * conv.W_in
        s.pad_top = s.r - 1 - conv.window.pad_top
        s.pad_left = s.r - 1 - conv.window.pad_left
        s.weight_out, s.weight_in, s.flipped = taps, conv.C * taps, True
    else:
        s.C, s.H, s.W, s.M, s.H_out, s.W_out = conv.C, conv.H_in, conv.W_in, conv.M, conv.H_out, conv.W_out
        s.image_stride = conv.C_in * conv.H_in * conv.W_in
        s.output_stride = conv.C_out * conv.L
        s.pad_top, s.pad_left = conv.window.pad_top, conv.window.pad_left
        s.weight_out, s.weight_in, s.flipped = conv.C * taps, taps, False
    s.tile_rows = ceil_div(s.H_out, s.m)
    s.tile_columns = ceil_div(s.W_out, s.m)
    tiles = max(lanes, min(PIXEL_BYTES // (TILE_VALUES * s.C * itemsize), 1 << 14) // (3 * lanes) * (3 * lanes))
    s.columns = min(s.tile_columns, tiles, MOST_COLUMNS)
    s.rows = 1
    if s.columns == s.tile_columns:
        s.rows = max(1, min(s.N * s.tile_rows, tiles // s.columns))
        s.rows = max(1, ceil_div(s.N * s.tile_rows, max(1, ceil_div(s.N * s.tile_rows, s.rows))))  # N may be 0
    s.group = max(1, min(4, ceil_div(s.M, ROWS), GROUP_BYTES // (TILE_VALUES * s.C * ROWS * itemsize)))
    s.span = 6 * lanes
    s.pixels = TILE_VALUES * apart(s.C * round_up(s.rows * s.columns, lanes))
    s.weights = s.group * TILE_VALUES * apart(s.C * ROWS)
    s.scratch = max(TILE_VALUES * apart(s.group * ROWS * s.span) + lanes, (48 + 2 * s.m) * (round_up(s.columns, lanes) + lanes))
    s.scratch = round_up(max(s.scratch, taps * ROWS * WINOGRAD_CHANNELS), 64)
    return s


cdef int winograd(const Conv* conv, bint backward, const floating* images, const floating* weight,
                  const floating* bias, floating* outputs) except -1:
    """Fill `outputs`; returns 0 where a value is not finite, and the direct sum must decide which are."""
    cdef Winograd s = winograd_sizes(conv, backward, sizeof(floating))
    cdef int threads = team(<double>conv.N * conv.C_out * conv.K * conv.L, 1 << 20)
    cdef floating* workspace = <floating*>acquire(
        (s.pixels + threads * (s.weights + s.scratch)) * sizeof(floating))
    cdef Py_ssize_t g
    cdef bint finite = True
    for g in range(conv.groups):
        finite = finite and winograd_group(
            &s, threads, images + g * s.C * s.H * s.W, weight + g * conv.M * conv.K,
            bias + g * s.M if bias != NULL else NULL, outputs + g * s.M * s.H_out * s.W_out, workspace)
    cyconv_release(workspace)
    return finite


cdef bint winograd_group(const Winograd* s, int threads, const floating* images, const floating* weight,
                         const floating* bias, floating* outputs, floating* workspace):
    cdef Py_ssize_t all_rows = s.N * s.tile_rows, panels = ceil_div(s.M, s.group * ROWS)
    cdef Py_ssize_t row, column, rows, columns, tiles, padded, parts, t, bad = 0
    cdef Py_ssize_t lanes = lanes_of(sizeof(floating))
    cdef size_t size = s.weights + s.scratch
    cdef floating* pixels = workspace
    workspace += s.pixels
    row = 0
    while row < all_rows:
        rows = min(s.rows, all_rows - row)
        column = 0
        while column < s.tile_columns:
            columns = min(s.columns, s.tile_columns - column)
            tiles = rows * columns
            padded = round_up(tiles, lanes)
            # few panels: divide the tiles too, though each part transforms the weights again
            parts = max(1, min(ceil_div(TASKS, panels), padded // s.span))
            for t in prange(s.C, num_threads=threads, schedule="dynamic", nogil=True):
                winograd_pixels(s, images, t, row, rows, column, columns, padded, pixels,
                                workspace + threadid() * size)
            for t in prange(panels * parts, num_threads=threads, schedule="dynamic", nogil=True):
                bad += winograd_filters(s, t // parts * s.group * ROWS, t % parts, parts, row, column, columns, tiles, padded,
                                      pixels, weight, bias, outputs, workspace + threadid() * size)
            column += columns
        row += rows
    return bad == 0


cdef void winograd_pixels(const Winograd* s, const floating* images, Py_ssize_t c, Py_ssize_t row, Py_ssize_t rows,
                          Py_ssize_t column, Py_ssize_t columns, Py_ssize_t padded, floating* pixels,
                          floating* scratch) noexcept nogil:
    """pixels[36, c, tile] = B^T d B of one channel; the rows of tiles may span several images."""
    cdef Py_ssize_t plane = apart(s.C * padded), done = 0, n, first, count, v
    cdef floating* values = pixels + c * padded
    while done < rows:
        n = (row + done) // s.tile_rows
        first = (row + done) % s.tile_rows
        count = min(rows - done, s.tile_rows - first)
        input_tiles(images + n * s.image_stride + c * s.H * s.W, s.H, s.W, first * s.m - s.pad_top,
                    column * s.m - s.pad_left, count, columns, s.m, padded - done * columns,
                    values + done * columns, plane, scratch)
        done += count
    for v in range(TILE_VALUES):
        memset(values + v * plane + rows * columns, 0, (padded - rows * columns) * sizeof(floating))


cdef bint winograd_filters(const Winograd* s, Py_ssize_t m, Py_ssize_t part, Py_ssize_t parts, Py_ssize_t row,
                         Py_ssize_t column, Py_ssize_t columns, Py_ssize_t tiles, Py_ssize_t padded,
                         const floating* pixels, const floating* weight, const floating* bias, floating* outputs,
                         floating* workspace) noexcept nogil:
    """Filters m.. at one part of the tiles; returns whether a value is not finite."""
    cdef floating* weights = workspace               # [panel, 36, c, ROWS] = G g G^T
    cdef floating* products = workspace + s.weights  # [36, filter, span]
    cdef Py_ssize_t filters = min(s.group * ROWS, s.M - m)
    cdef Py_ssize_t spans = ceil_div(padded, s.span), panels = ceil_div(filters, ROWS), i, c, p
    cdef bint finite = True
    for p in range(panels):
        c = 0
        while c < s.C:
            weight_panel(weight + (m + p * ROWS) * s.weight_out + c * s.weight_in, s.weight_out, s.weight_in,
                         <int>min(ROWS, filters - p * ROWS), min(WINOGRAD_CHANNELS, s.C - c), s.r, s.flipped,
                         weights + p * TILE_VALUES * apart(s.C * ROWS) + c * ROWS, apart(s.C * ROWS), products)
            c += WINOGRAD_CHANNELS
    for i in range(part * spans // parts, (part + 1) * spans // parts):
        winograd_products(s, panels, i * s.span, min(padded, (i + 1) * s.span), padded, pixels, weights, products)
        finite &= winograd_outputs(s, m, filters, i * s.span, min(tiles, (i + 1) * s.span), row, column, columns,
                                   products, bias, outputs)
    return not finite


cdef void winograd_products(const Winograd* s, Py_ssize_t panels, Py_ssize_t first, Py_ssize_t past,
                            Py_ssize_t padded, const floating* pixels, const floating* weights,
                            floating* products) noexcept nogil:
    """products[v] = weights[v] . pixels[v] over the channels, (filters, tiles first..past), for the 36 values v."""
    cdef Py_ssize_t lanes = lanes_of(sizeof(floating)), v, t, p, c, vectors
    cdef const floating* a
    cdef const floating* b
    cdef floating* target
    for v in range(TILE_VALUES):
        t = first
        while t < past:
            vectors = min(3, (past - t) // lanes)
            for p in range(panels):
                a = weights + (p * TILE_VALUES + v) * apart(s.C * ROWS)
                b = pixels + v * apart(s.C * padded) + t
                target = products + v * apart(s.group * ROWS * s.span) + p * ROWS * s.span + t - first
                c = 0
                while c < s.C:
                    panel_product(a + c * ROWS, b + c * padded, padded, min(CHAIN, s.C - c), target, s.span, ROWS,
                                  c > 0, <int>vectors)
                    c += CHAIN
            t += vectors * lanes


cdef bint winograd_outputs(const Winograd* s, Py_ssize_t m, Py_ssize_t filters, Py_ssize_t first, Py_ssize_t past,
                           Py_ssize_t row, Py_ssize_t column, Py_ssize_t columns, const floating* products,
                           const floating* bias, floating* outputs) noexcept nogil:
    """A^T v A of the tiles first..past of a block, by rows of tiles; returns whether all values are finite."""
    cdef Py_ssize_t f, t, n, y, x, count
    cdef bint finite = True
    for f in range(filters):
        t = first
        while t < past:
            count = min(columns - t % columns, past - t)
            n = (row + t // columns) // s.tile_rows
            y = (row + t // columns) % s.tile_rows * s.m
            x = (column + t % columns) * s.m
            finite &= output_row(products + f * s.span + t - first, apart(s.group * ROWS * s.span), count, s.m,
                                 bias[m + f] if bias != NULL else 0,
                                 outputs + n * s.output_stride + ((m + f) * s.H_out + y) * s.W_out + x, s.W_out,
                                 min(s.m, s.H_out - y), min(count * s.m, s.W_out - x))
            t += count
    return finite
