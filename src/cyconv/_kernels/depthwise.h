/* Convolution of one channel by one filter, without a product of matrices: a padded plane is one long line, in which
   each tap of the filter is a distance. Sums run along the whole line in full vectors, over the ends of rows;
   what they make there is left out when rows are copied. Filters of several rows lay no line: `filter_plane` takes tiles of
   outputs straight from the image. Included once for each type. */

/* out[i] = in[2 * i]; `before`: in[-1] may be read. */
CYCONV_INLINE void PANEL(copy_second)(REAL *restrict out, const REAL *restrict in, ptrdiff_t count, int before)
{
    ptrdiff_t i = 0;
#if defined(__GNUC__)
    for (; i + LANES < count; i += LANES)
        *(PANEL(memory) *)(out + i) = IN_ORDER(EVEN(*(const PANEL(memory) *)(in + 2 * i), *(const PANEL(memory) *)(in + 2 * i + LANES)));
    if (count >= LANES && (before || count > LANES)) { /* the last vector ends with in[2 * count - 2], and overlaps */
        const REAL *last = in + 2 * (count - LANES) - 1;
        *(PANEL(memory) *)(out + count - LANES) = IN_ORDER(ODD(*(const PANEL(memory) *)last, *(const PANEL(memory) *)(last + LANES)));
        return;
    }
#endif
    for (; i < count; i++) out[i] = in[2 * i];
}

/* line[r * count + t] = pixel (y + r * stride_h, x + t * stride_w) of a plane (H, W) whose rows are `row_length` apart,
   r < rows, t < count; where that lies outside it the line, of zeros, stays as it is. */
static void PANEL(lay_rows)(const REAL *plane, ptrdiff_t row_length, ptrdiff_t H, ptrdiff_t W, ptrdiff_t y,
                            ptrdiff_t stride_h, ptrdiff_t x, ptrdiff_t stride_w, ptrdiff_t rows, ptrdiff_t count, REAL *line)
{
    ptrdiff_t first = x < 0 ? -x : 0, past = W - x; /* t of the pixels inside */
    if (stride_w != 1) { /* a division takes as long as a short row */
        first = (first + stride_w - 1) / stride_w;
        past = past > 0 ? (past - 1) / stride_w + 1 : 0;
    }
    if (past > count) past = count;
    if (first >= past) return;
    for (; rows > 0 && y < 0; rows--, y += stride_h) line += count;
    const REAL *row = plane + y * row_length + x + first * stride_w;
    const ptrdiff_t step = stride_h * row_length, length = past - first;
    line += first;
    if (stride_w == 1)
        for (; rows > 0 && y < H; rows--, y += stride_h, line += count, row += step) PANEL(copy)(line, row, length);
    else if (stride_w == 2)
        for (; rows > 0 && y < H; rows--, y += stride_h, line += count, row += step)
            PANEL(copy_second)(line, row, length, x + 2 * first > 0);
    else
        for (; rows > 0 && y < H; rows--, y += stride_h, line += count, row += step) {
            if (stride_w == 4) /* a constant stride is vectorised */
                for (ptrdiff_t t = 0; t < length; t++) line[t] = row[t * 4];
            else
                for (ptrdiff_t t = 0; t < length; t++) line[t] = row[t * stride_w];
        }
}

/* Rows of W elements, side by side, from rows that are `width` apart. */
static void PANEL(copy_rows)(const REAL *lines, ptrdiff_t width, ptrdiff_t rows, ptrdiff_t W, REAL *out)
{
    for (; rows > 0; rows--, lines += width, out += W) PANEL(copy)(out, lines, W);
}

/* out[p] = start + sum over taps of weight[tap] * line[distance[tap] + p], for p < count and on to a whole 4 vectors. */
static void PANEL(taps)(const REAL *line, const ptrdiff_t *distance, const REAL *weight, ptrdiff_t taps, REAL start,
                        REAL *out, ptrdiff_t count)
{
    for (ptrdiff_t p = 0; p < count; p += 4 * LANES) {
        PANEL(vector) sum[4];
        for (int v = 0; v < 4; v++)
            for (int l = 0; l < LANES; l++) ((REAL *)&sum[v])[l] = start;
        for (ptrdiff_t tap = 0; tap < taps; tap++) {
            const REAL *pixels = line + distance[tap] + p;
            for (int v = 0; v < 4; v++) sum[v] += weight[tap] * *(const PANEL(memory) *)(pixels + v * LANES);
        }
        for (int v = 0; v < 4; v++) *(PANEL(memory) *)(out + p + v * LANES) = sum[v];
    }
}

/* The first elements of a vector, fewer than LANES. */
CYCONV_INLINE void PANEL(store_few)(REAL *out, PANEL(vector) v, ptrdiff_t count)
{
    const REAL *in = (const REAL *)&v;
#pragma GCC unroll 3
    for (int part = LANES / 2; part > 1; part /= 2)
        if (count >= part) { /* two parts that overlap */
            memcpy(out, in, part * sizeof(REAL));
            memcpy(out + count - part, in + count - part, part * sizeof(REAL));
            return;
        }
    if (count > 0) *out = *in;
}

/* Pixels of a row, `stride` apart: at stride 2 in the order that costs least. Reads stride * LANES of them. */
CYCONV_INLINE PANEL(vector) PANEL(pixels)(const REAL *row, const int stride)
{
    const PANEL(vector) a = *(const PANEL(memory) *)row;
    return stride == 1 ? a : EVEN(a, *(const PANEL(memory) *)(row + LANES));
}

/* The pixels; zeros where `inside` is not all ones. */
CYCONV_INLINE PANEL(vector) PANEL(masked)(PANEL(vector) pixels, PANEL(vector) inside)
{
#if defined(__GNUC__)
    return (PANEL(vector))((PANEL(ints))pixels & (PANEL(ints))inside);
#else
    return inside == 0 ? 0 : pixels;
#endif
}

/* sum[y], a vector of outputs x, += sum over i < kernel_h and j of weight[i * kernel_w + j] * rows[y * stride + i][x * stride + j],
   from `column` on; each row is read once for all outputs. */
CYCONV_INLINE void PANEL(add_kernel_rows)(PANEL(vector) *sum, const REAL *const *rows, ptrdiff_t column, const REAL *inside,
                                          const REAL *weight, const int kernel_h, ptrdiff_t kernel_w, const int stride)
{
    for (ptrdiff_t last = column + kernel_w; column < last; column++, weight++) {
        const PANEL(vector) mask = PANEL(pixels)(inside + column, stride);
#pragma GCC unroll 21
        for (int i = 0; i < kernel_h + (TILE_ROWS - 1) * stride; i++) { /* tap i of output row 0, i - stride of row 1, ... */
            const PANEL(vector) pixels = PANEL(masked)(PANEL(pixels)(rows[i] + column, stride), mask);
#pragma GCC unroll 8
            for (int r = 0; r < TILE_ROWS; r++)
                if (i >= r * stride && i - r * stride < kernel_h) sum[r] += weight[(i - r * stride) * kernel_w] * pixels;
        }
    }
}

/* out (TILE_ROWS, LANES): start + the sums of all kernel_h rows of the kernel, in one piece if `whole` is that number, as a
   constant, or in pieces if it is 0; with `relu` max(0, out). `H` rows of out exist, W apart. Rows narrower than a vector are
   stored over the beginning of the next, but not past `end`. */
CYCONV_INLINE void PANEL(filter_tile)(const REAL *const *rows, ptrdiff_t column, const REAL *inside, const REAL *weight,
                                      const int whole, ptrdiff_t kernel_h, ptrdiff_t kernel_w, const int stride, REAL start,
                                      int relu, REAL *out, ptrdiff_t H, ptrdiff_t W, const REAL *end)
{
    PANEL(vector) sum[TILE_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++) sum[r] = (PANEL(vector)){0} + start;
#define KERNEL_ROWS(count) \
    for (; kernel_h >= count; kernel_h -= count, rows += count, weight += count * kernel_w) \
        PANEL(add_kernel_rows)(sum, rows, column, inside, weight, count, kernel_w, stride)
    if (whole) PANEL(add_kernel_rows)(sum, rows, column, inside, weight, whole, kernel_w, stride);
    else {
        KERNEL_ROWS(7);
        KERNEL_ROWS(5);
        KERNEL_ROWS(3);
        KERNEL_ROWS(1);
    }
#undef KERNEL_ROWS
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++) {
        if (relu) sum[r] = PANEL(rectified)(sum[r]);
        if (stride == 2) sum[r] = IN_ORDER(sum[r]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++, out += W) {
        if (r >= H) break;
        if (end - out >= LANES) *(PANEL(memory) *)out = sum[r];
        else PANEL(store_few)(out, sum[r], W);
    }
}

/* H rows of W outputs, side by side. Tiles at the ends overlap those before. The pixels of the next rows of tiles, from
   `ahead` on, and their outputs are fetched meanwhile where rows, W_in apart, are long: they are many streams. */
CYCONV_INLINE void PANEL(filter_rows)(const REAL *const *rows, const REAL *inside, const REAL *weight, const int whole,
                                      ptrdiff_t kernel_h, ptrdiff_t kernel_w, const int stride, REAL start, int relu, REAL *out,
                                      ptrdiff_t H, ptrdiff_t W, const REAL *ahead, ptrdiff_t W_in)
{
    const ptrdiff_t last_y = H > TILE_ROWS ? H - TILE_ROWS : 0, last_x = W > LANES ? W - LANES : 0;
    const ptrdiff_t outputs = TILE_ROWS * LANES, pixels = outputs * stride * stride; /* of one tile */
    const int fetch = W_in * (ptrdiff_t)sizeof(REAL) > 128;
    for (ptrdiff_t y = 0; y < H; y += TILE_ROWS) {
        if (y > last_y) y = last_y;
        const REAL *next_pixels = ahead + y * stride * W_in, *next_out = out + (y + TILE_ROWS) * W;
        for (ptrdiff_t x = 0; x < W; x += LANES) {
            if (x > last_x) x = last_x;
            if (fetch) {
                cyconv_prefetch(next_pixels, pixels * sizeof(REAL));
                cyconv_prefetch_write(next_out, outputs * sizeof(REAL));
                next_pixels += pixels;
                next_out += outputs;
            }
            PANEL(filter_tile)(rows + y * stride, x * stride, inside, weight, whole, kernel_h, kernel_w, stride, start,
                               relu, out + y * W + x, H - y, W, out + H * W);
        }
    }
}

/* Rows first..first + count of the outputs of one plane of `images`, an array of `size` elements. table: f->reach values,
   all ones at the columns that are in the image, then as many zeros: a row outside it. workspace: f->lines pointers, then
   f->edges rows of f->reach elements: copies of those at the ends of the array, past which vectors would read. */
static void PANEL(filter_plane)(const cyconv_filter *f, const REAL *images, ptrdiff_t size, ptrdiff_t plane, ptrdiff_t first,
                                ptrdiff_t count, const REAL *weight, REAL start, int relu, const REAL *table,
                                void *workspace, REAL *out)
{
    const REAL **rows = (const REAL **)workspace;
    REAL *edge = (REAL *)(rows + f->lines);
    ptrdiff_t y = first * f->stride - f->top, i = 0;
    for (; i < f->lines && y < 0; i++, y++) rows[i] = table + f->reach;
    ptrdiff_t place = (plane * f->H + y) * f->W - f->left;
    if (place >= 0 && place + (f->H - 1) * f->W + f->reach <= size)
        for (; i < f->lines && y < f->H; i++, y++, place += f->W) rows[i] = images + place;
    for (; i < f->lines && y < f->H; i++, y++, place += f->W) {
        if (place >= 0 && place + f->reach <= size) {
            rows[i] = images + place;
            continue;
        }
        const ptrdiff_t from = f->left > 0 ? f->left : 0, past = f->W + f->left < f->reach ? f->W + f->left : f->reach;
        if (from < past) memcpy(edge + from, images + (place + from), (past - from) * sizeof(REAL));
        rows[i] = edge;
        edge += f->reach;
    }
    for (; i < f->lines; i++) rows[i] = table + f->reach;
    const REAL *ahead = images + (plane * f->H + (first + TILE_ROWS) * f->stride) * f->W;
#define FILTER_ROWS(whole, stride) \
    PANEL(filter_rows)(rows, table, weight, whole, f->kernel_h, f->kernel_w, stride, start, relu, out, count, f->W_out, ahead, f->W)
    if (f->stride == 1 && f->kernel_h == 3) FILTER_ROWS(3, 1);
    else if (f->stride == 1 && f->kernel_h == 5) FILTER_ROWS(5, 1);
    else if (f->stride == 1 && f->kernel_h == 7) FILTER_ROWS(7, 1);
    else if (f->stride == 1) FILTER_ROWS(0, 1);
    else FILTER_ROWS(0, 2);
#undef FILTER_ROWS
}

/* sums[tap][LANES] += grad[p] * line[distance[tap] + p] for all p < count, a whole number of vectors; at most 8 taps. */
CYCONV_INLINE void PANEL(some_taps_gradient)(const REAL *line, const ptrdiff_t *distance, const int taps,
                                             const REAL *grad, ptrdiff_t count, REAL *sums)
{
    PANEL(vector) sum[8];
#pragma GCC unroll 8
    for (int tap = 0; tap < taps; tap++) sum[tap] = *(const PANEL(memory) *)(sums + tap * LANES);
    for (ptrdiff_t p = 0; p < count; p += LANES) {
        const PANEL(vector) factor = *(const PANEL(memory) *)(grad + p);
#pragma GCC unroll 8
        for (int tap = 0; tap < taps; tap++) sum[tap] += factor * *(const PANEL(memory) *)(line + distance[tap] + p);
    }
#pragma GCC unroll 8
    for (int tap = 0; tap < taps; tap++) *(PANEL(memory) *)(sums + tap * LANES) = sum[tap];
}

static void PANEL(taps_gradient)(const REAL *line, const ptrdiff_t *distance, ptrdiff_t taps, const REAL *grad,
                                 ptrdiff_t count, REAL *sums)
{
    ptrdiff_t tap = 0;
    for (; tap + 8 <= taps; tap += 8)
        PANEL(some_taps_gradient)(line, distance + tap, 8, grad, count, sums + tap * LANES);
    for (; tap + 3 <= taps; tap += 3)
        PANEL(some_taps_gradient)(line, distance + tap, 3, grad, count, sums + tap * LANES);
    for (; tap < taps; tap++)
        PANEL(some_taps_gradient)(line, distance + tap, 1, grad, count, sums + tap * LANES);
}

/* out[x*stride + b] = lines[b * phase + x] for all b < stride, or with `add` += : `count` elements of out. */
static void PANEL(interleave_row)(const REAL *lines, ptrdiff_t phase, ptrdiff_t stride, ptrdiff_t count, int add, REAL *out)
{
    if (stride == 1 && !add) {
        PANEL(copy)(out, lines, count);
        return;
    }
    if (stride == 2 && !add) {
        for (ptrdiff_t x = 0; x < count / 2; x++) {
            out[2 * x] = lines[x];
            out[2 * x + 1] = lines[phase + x];
        }
        if (count % 2) out[count - 1] = lines[count / 2];
        return;
    }
    for (ptrdiff_t b = 0; b < stride; b++)
        for (ptrdiff_t x = b, t = b * phase; x < count; x += stride, t++) out[x] = add ? out[x] + lines[t] : lines[t];
}
