/* Depthwise convolution of small planes: the lanes of a vector are channels, whose planes are transposed on the way in and on
   the way out (small_planes.pyx). A position of a line is a vector. Included once for each type, after panel.h. */

#define SPAN 8 /* positions whose sums are made at once: so many products are under way */

/* line[place[p] + l] = pixel p < count of plane l < channels, and 0 of the lanes behind; count is at least LANES. */
static void PANEL(lay_vectors)(const REAL *planes, ptrdiff_t count, ptrdiff_t channels, const ptrdiff_t *place, REAL *line)
{
    for (ptrdiff_t p = 0; p < count; p += LANES) {
        PANEL(vector) v[LANES];
        if (p > count - LANES) p = count - LANES; /* the last ones again */
        if (channels >= LANES) PANEL(load_transposed)(planes + p, count, v, LANES);
        else PANEL(load_few_transposed)(planes + p, count, v, channels);
        for (int l = 0; l < LANES; l++) *(PANEL(memory) *)(line + place[p + l]) = v[l];
    }
}

/* The other way: element p < count of plane l < channels is vectors[p * LANES + l]. */
static void PANEL(store_planes)(const REAL *vectors, ptrdiff_t count, ptrdiff_t channels, REAL *planes)
{
    for (ptrdiff_t p = 0; p < count; p += LANES) {
        PANEL(vector) v[LANES];
        if (p > count - LANES) p = count - LANES;
        PANEL(load_transposed)(vectors + p * LANES, LANES, v, LANES);
        for (int l = 0; l < LANES && l < channels; l++) *(PANEL(memory) *)(planes + l * count + p) = v[l];
    }
}

/* out[x * step] = start + sum over taps of weight[order[t]] * line[distance[t] + x], x < count, at most SPAN; with `relu`
   max(0, that). */
CYCONV_INLINE void PANEL(vector_span)(const REAL *line, const ptrdiff_t *distance, const ptrdiff_t *order, ptrdiff_t taps,
                                      const REAL *weight, PANEL(vector) start, int relu, REAL *out, ptrdiff_t step,
                                      ptrdiff_t count, const int span)
{
    PANEL(vector) sum[SPAN];
#pragma GCC unroll 8
    for (int x = 0; x < span; x++) sum[x] = start;
    for (ptrdiff_t t = 0; t < taps; t++) {
        const PANEL(vector) factor = *(const PANEL(memory) *)(weight + order[t]);
        const REAL *pixels = line + distance[t];
#pragma GCC unroll 8
        for (int x = 0; x < span; x++) sum[x] += factor * *(const PANEL(memory) *)(pixels + x * LANES);
    }
#pragma GCC unroll 8
    for (int x = 0; x < span; x++) {
        if (x >= count) break;
        *(PANEL(memory) *)(out + x * step) = relu ? PANEL(rectified)(sum[x]) : sum[x];
    }
}

/* The same of `rows` rows of `count` positions, `width` apart, to rows of out that are `row_step` apart. Up to SPAN positions
   behind a row are read. */
static void PANEL(vector_taps)(const REAL *line, ptrdiff_t width, const ptrdiff_t *distance, const ptrdiff_t *order,
                               ptrdiff_t taps, const REAL *weight, const REAL *start, int relu, ptrdiff_t rows, ptrdiff_t count,
                               REAL *out, ptrdiff_t row_step, ptrdiff_t step)
{
    const PANEL(vector) first = *(const PANEL(memory) *)start;
    for (; rows > 0; rows--, line += width, out += row_step)
        for (ptrdiff_t x = 0; x < count; x += SPAN) {
            const ptrdiff_t rest = count - x;
            if (rest > SPAN / 2)
                PANEL(vector_span)(line + x * LANES, distance, order, taps, weight, first, relu, out + x * step, step, rest, SPAN);
            else
                PANEL(vector_span)(line + x * LANES, distance, order, taps, weight, first, relu, out + x * step, step, rest,
                                   SPAN / 2);
        }
}

/* sums[t * LANES] += sum over the positions of some rows of grads * line[distance[t]], t < taps. */
CYCONV_INLINE void PANEL(vector_dots)(const REAL *line, ptrdiff_t width, const ptrdiff_t *distance, const REAL *grads,
                                      ptrdiff_t rows, ptrdiff_t count, REAL *sums, const int taps)
{
    PANEL(vector) sum[SPAN + 1];
#pragma GCC unroll 9
    for (int t = 0; t < taps; t++) sum[t] = *(const PANEL(memory) *)(sums + t * LANES);
    for (; rows > 0; rows--, line += width)
        for (ptrdiff_t x = 0; x < count; x++, grads += LANES) {
            const PANEL(vector) factor = *(const PANEL(memory) *)grads;
#pragma GCC unroll 9
            for (int t = 0; t < taps; t++) sum[t] += factor * *(const PANEL(memory) *)(line + distance[t] + x * LANES);
        }
#pragma GCC unroll 9
    for (int t = 0; t < taps; t++) *(PANEL(memory) *)(sums + t * LANES) = sum[t];
}

/* The same of any number of taps: squares of odd sides leave one more than a multiple of SPAN. */
static void PANEL(vector_tap_sums)(const REAL *line, ptrdiff_t width, const ptrdiff_t *distance, ptrdiff_t taps,
                                   const REAL *grads, ptrdiff_t rows, ptrdiff_t count, REAL *sums)
{
    for (ptrdiff_t t = 0, now; t < taps; t += now, distance += now, sums += now * LANES) {
        now = (taps - t) % SPAN == 1 && taps > t + 1 ? SPAN + 1 : taps - t >= SPAN ? SPAN : taps - t >= 4 ? 4 : 1;
        if (now == SPAN + 1) PANEL(vector_dots)(line, width, distance, grads, rows, count, sums, SPAN + 1);
        else if (now == SPAN) PANEL(vector_dots)(line, width, distance, grads, rows, count, sums, SPAN);
        else if (now == 4) PANEL(vector_dots)(line, width, distance, grads, rows, count, sums, 4);
        else PANEL(vector_dots)(line, width, distance, grads, rows, count, sums, 1);
    }
}
#undef SPAN
