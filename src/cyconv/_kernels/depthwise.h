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

/* line[t] = row[start + t*stride], t < count, or 0 outside the row; row may be NULL. */
static void PANEL(lay_row)(const REAL *row, ptrdiff_t W, ptrdiff_t start, ptrdiff_t stride, ptrdiff_t count, REAL *line)
{
    ptrdiff_t first = start < 0 ? (-start + stride - 1) / stride : 0;
    ptrdiff_t past = row == NULL || start >= W ? 0 : (W - 1 - start) / stride + 1;
    if (past > count) past = count;
    if (first > past) first = past;
    for (ptrdiff_t t = 0; t < first; t++) line[t] = 0;
    if (first == past) {
        /* nothing of the row is there, and NULL has no place `start` */
    } else if (stride == 1)
        PANEL(copy)(line + first, row + (start + first), past - first);
    else if (stride == 2)
        PANEL(copy_second)(line + first, row + start + 2 * first, past - first, start + 2 * first > 0);
    else
        for (ptrdiff_t t = first; t < past; t++) line[t] = row[start + t * stride];
    for (ptrdiff_t t = past; t < count; t++) line[t] = 0;
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
