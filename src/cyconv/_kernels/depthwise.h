/* Convolution of one channel by one filter, without a product of matrices: a padded plane is one long line, in which
   each tap of the filter is a distance. Sums run along the whole line in full vectors, over the ends of rows;
   what they make there is left out when rows are copied. Included once for each type. */

CYCONV_INLINE void PANEL(copy)(REAL *restrict out, const REAL *restrict in, ptrdiff_t count)
{
    const ptrdiff_t half = LANES / 2;
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES) *(PANEL(memory) *)(out + i) = *(const PANEL(memory) *)(in + i);
    if (i == count) return;
    if (count >= LANES) /* the last vector overlaps the one before */
        *(PANEL(memory) *)(out + count - LANES) = *(const PANEL(memory) *)(in + count - LANES);
    else if (half > 1 && count >= half) { /* two halves that overlap */
        memcpy(out, in, half * sizeof(REAL));
        memcpy(out + count - half, in + count - half, half * sizeof(REAL));
    } else
        for (; i < count; i++) out[i] = in[i];
}

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

/* line[r * count + t] = pixel (y + r * stride_h, x + t * stride_w) of a plane, r < rows, t < count; where that lies
   outside it the line, of zeros, stays as it is. */
static void PANEL(lay_rows)(const REAL *plane, ptrdiff_t H, ptrdiff_t W, ptrdiff_t y, ptrdiff_t stride_h, ptrdiff_t x,
                            ptrdiff_t stride_w, ptrdiff_t rows, ptrdiff_t count, REAL *line)
{
    ptrdiff_t first = x < 0 ? -x : 0, past = W - x; /* t of the pixels inside */
    if (stride_w != 1) { /* a division takes as long as a short row */
        first = (first + stride_w - 1) / stride_w;
        past = past > 0 ? (past - 1) / stride_w + 1 : 0;
    }
    if (past > count) past = count;
    if (first >= past) return;
    for (; rows > 0; rows--, y += stride_h, line += count) {
        if (y < 0 || y >= H) continue;
        const REAL *row = plane + y * W + x;
        if (stride_w == 1) PANEL(copy)(line + first, row + first, past - first);
        else if (stride_w == 2)
            PANEL(copy_second)(line + first, row + 2 * first, past - first, x + 2 * first > 0);
        else if (stride_w == 4) /* a constant stride is vectorised */
            for (ptrdiff_t t = first; t < past; t++) line[t] = row[t * 4];
        else
            for (ptrdiff_t t = first; t < past; t++) line[t] = row[t * stride_w];
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

/* The same for 4 rows of a line without phases or dilation, `width` apart: out[p] and out[p + width] share most of the
   pixels, which are read once for all 4. For p < width and on to 2 vectors. */
CYCONV_INLINE void PANEL(taps_of_rows)(const REAL *line, ptrdiff_t width, const REAL *weight, const int kernel_h,
                                       ptrdiff_t kernel_w, REAL start, REAL *out)
{
    for (ptrdiff_t p = 0; p < width; p += 2 * LANES) {
        PANEL(vector) sum[4][2];
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++)
            for (int v = 0; v < 2; v++) sum[r][v] = (PANEL(vector)){0} + start;
        for (ptrdiff_t j = 0; j < kernel_w; j++)
#pragma GCC unroll 10
            for (int i = 0; i < kernel_h + 3; i++) { /* row i of the line: tap i of row 0, i - 1 of row 1, ... */
                const REAL *pixels = line + p + j + i * width;
                const PANEL(vector) a = *(const PANEL(memory) *)pixels, b = *(const PANEL(memory) *)(pixels + LANES);
#pragma GCC unroll 4
                for (int r = 0; r < 4; r++)
                    if (i >= r && i - r < kernel_h) {
                        sum[r][0] += weight[(i - r) * kernel_w + j] * a;
                        sum[r][1] += weight[(i - r) * kernel_w + j] * b;
                    }
            }
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++)
            for (int v = 0; v < 2; v++) *(PANEL(memory) *)(out + r * width + p + v * LANES) = sum[r][v];
    }
}

/* out[p] = start + sum over i, j of weight[i * kernel_w + j] * line[i * width + j + p], p < rows * width, and on to whole
   blocks of 4 rows and of 2 vectors; kernel_h is 3, 5 or 7. */
static void PANEL(taps_by_rows)(const REAL *line, ptrdiff_t width, ptrdiff_t rows, const REAL *weight, ptrdiff_t kernel_h,
                               ptrdiff_t kernel_w, REAL start, REAL *out)
{
    for (ptrdiff_t y = 0; y < rows; y += 4, line += 4 * width, out += 4 * width)
        if (kernel_h == 3) PANEL(taps_of_rows)(line, width, weight, 3, kernel_w, start, out);
        else if (kernel_h == 5) PANEL(taps_of_rows)(line, width, weight, 5, kernel_w, start, out);
        else PANEL(taps_of_rows)(line, width, weight, 7, kernel_w, start, out);
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
