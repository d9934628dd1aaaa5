/* Products of filters with the lines of implicit.pyx: the columns of im2col are read where they lie, each tap a
   distance along the line. Included once for each type, after panel.h and depthwise.h. */

/* to (rows, vectors * LANES) := start + A . columns, a value for each row; plus `from` where there is one; then, with
   `relu`, max(0, to), in which NaN stays. Column element (tap, position) is line[distance[tap] + position], or with no distances
   packed, at line[tap * 3 * LANES + position]. A is packed by columns of ROWS. */
CYCONV_INLINE void PANEL(line_block)(const REAL *a, const REAL *line, const ptrdiff_t *distance, ptrdiff_t taps,
                                     const REAL *start, const REAL *from, ptrdiff_t from_length, REAL *to,
                                     ptrdiff_t to_length, int rows, int relu, const int vectors, const int height)
{
    PANEL(vector) sum[ROWS][3];
    const REAL *at[ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < height; i++) {
        for (int v = 0; v < vectors; v++) sum[i][v] = start[i] - (PANEL(vector)){0};
        at[i] = a + i;
    }
    if (distance) {
        ptrdiff_t p = 0;
        for (; p + UNROLL <= taps; p += UNROLL)
#pragma GCC unroll 8
            for (int q = 0; q < UNROLL; q++)
                PANEL(add_product)(sum, at, (p + q) * ROWS, line + distance[p + q], NULL, vectors, height);
        for (; p < taps; p++) PANEL(add_product)(sum, at, p * ROWS, line + distance[p], NULL, vectors, height);
    } else PANEL(add_products)(sum, at, ROWS, line, 3 * LANES, taps, NULL, NULL, vectors, height);
    if (from) /* only now: short sums round less than long ones */
#pragma GCC unroll 8
        for (int i = 0; i < height; i++)
            for (int v = 0; v < vectors; v++) sum[i][v] += *(const PANEL(memory) *)(from + i * from_length + v * LANES);
    if (relu)
#pragma GCC unroll 8
        for (int i = 0; i < height; i++)
            for (int v = 0; v < vectors; v++) sum[i][v] = PANEL(rectified)(sum[i][v]);
    if (rows == height)
#pragma GCC unroll 8
        for (int i = 0; i < height; i++)
            for (int v = 0; v < vectors; v++) *(PANEL(memory) *)(to + i * to_length + v * LANES) = sum[i][v];
    else
#pragma GCC unroll 8
        for (int i = 0; i < height - 1; i++)
            if (i < rows)
                for (int v = 0; v < vectors; v++) *(PANEL(memory) *)(to + i * to_length + v * LANES) = sum[i][v];
}

/* The same of half the rows where no more are kept. */
CYCONV_INLINE void PANEL(line_rows)(const REAL *a, const REAL *line, const ptrdiff_t *distance, ptrdiff_t taps,
                                    const REAL *start, const REAL *from, ptrdiff_t from_length, REAL *to,
                                    ptrdiff_t to_length, int rows, int relu, const int vectors)
{
    if (rows > ROWS / 2)
        PANEL(line_block)(a, line, distance, taps, start, from, from_length, to, to_length, rows, relu, vectors, ROWS);
    else PANEL(line_block)(a, line, distance, taps, start, from, from_length, to, to_length, rows, relu, vectors, ROWS / 2);
}

CYCONV_INLINE void PANEL(line_vectors)(const REAL *a, const REAL *line, const ptrdiff_t *distance, ptrdiff_t taps,
                                       const REAL *start, const REAL *from, ptrdiff_t from_length, REAL *to,
                                       ptrdiff_t to_length, int rows, int relu, int vectors)
{
    if (vectors == 3) PANEL(line_rows)(a, line, distance, taps, start, from, from_length, to, to_length, rows, relu, 3);
    else if (vectors == 2) PANEL(line_rows)(a, line, distance, taps, start, from, from_length, to, to_length, rows, relu, 2);
    else PANEL(line_rows)(a, line, distance, taps, start, from, from_length, to, to_length, rows, relu, 1);
}

/* Columns of the next panel where `rest` are left and blocks have ROWS rows: 3 * LANES, but no lone vector at the end. */
CYCONV_INLINE ptrdiff_t PANEL(panel_columns)(ptrdiff_t rest)
{
    if (rest > 3 * LANES && rest <= 4 * LANES) return 2 * LANES;
    return rest < 3 * LANES ? rest : 3 * LANES;
}

/* Positions x.. of a line whose rows are `width` apart: those within W_out go to their rows of the output. */
CYCONV_INLINE void PANEL(line_outputs)(const REAL *values, ptrdiff_t count, ptrdiff_t x, ptrdiff_t width,
                                       ptrdiff_t W_out, ptrdiff_t row_step, ptrdiff_t step, REAL *row)
{
    for (ptrdiff_t run; count > 0; count -= run, values += run, x = 0, row += row_step) {
        run = width - x < count ? width - x : count;
        const ptrdiff_t valid = W_out - x < run ? W_out - x : run;
        if (step == 1) {
            if (valid > 0) PANEL(copy)(row + x, values, valid);
        } else
            for (ptrdiff_t i = 0; i < valid; i++) row[(x + i) * step] = values[i];
    }
}

/* One pass over some taps: `filters` filters at `positions` of the line. The first pass adds the values `start` of the
   filters, later ones the sums, (filters, sums_length); the last one writes rows of W_out outputs, `step` apart,
   rows `row_step` and filters `plane` apart. Blocks of positions end with the rows, or are whole over their ends; some of
   them are taken at once, so that outputs are written in runs. Many filters read the blocks packed, few where they lie.
   panel: LINE_PANELS + 3 * LANES * taps elements. */
static void PANEL(line_product)(const REAL *packed, const REAL *line, const ptrdiff_t *distance, ptrdiff_t taps,
                                ptrdiff_t filters, ptrdiff_t positions, int by_rows, const REAL *start, int first, int last, int relu,
                                REAL *sums, ptrdiff_t sums_length, ptrdiff_t width, ptrdiff_t W_out, ptrdiff_t row_step,
                                ptrdiff_t step, ptrdiff_t plane, REAL *output, REAL *panel)
{
    static const REAL none[ROWS] = {0};
    REAL values[ROWS * 3 * LANES];
    const int pack = filters > 4 * ROWS;
    const ptrdiff_t size = 3 * LANES * taps; /* of a packed block; 0 where no tap reaches this phase */
    const ptrdiff_t most = size * LINE_BLOCKS <= LINE_PANELS ? LINE_BLOCKS : size > LINE_PANELS ? 1 : LINE_PANELS / size;
    struct { ptrdiff_t p, q, x, columns; } blocks[LINE_BLOCKS]; /* q: of whole vectors, in the sums */
    for (ptrdiff_t p = 0, q = 0, count; p < positions;) {
        for (count = 0; count < most && p < positions; count++) {
            const ptrdiff_t x = p % width, rest = by_rows ? W_out - x : positions - p;
            const ptrdiff_t columns = PANEL(panel_columns)(rest);
            REAL *target = panel + count * size;
            for (ptrdiff_t t = 0; t < taps && pack; t++, target += 3 * LANES)
                for (int v = 0; v < 3; v++)
                    *(PANEL(memory) *)(target + v * LANES) = *(const PANEL(memory) *)(line + p + distance[t] + v * LANES);
            blocks[count].p = p, blocks[count].q = q, blocks[count].x = x, blocks[count].columns = columns;
            p += columns + (by_rows && columns == rest ? width - W_out : 0);
            q += (columns + LANES - 1) / LANES * LANES;
        }
        for (ptrdiff_t i = 0; i < filters; i += ROWS)
            for (ptrdiff_t n = 0; n < count; n++) {
                const ptrdiff_t x = blocks[n].x, at = i * sums_length + blocks[n].q;
                const int rows = (int)(filters - i < ROWS ? filters - i : ROWS);
                const int vectors = (int)((blocks[n].columns + LANES - 1) / LANES);
                const int direct = last && step == 1 && x + vectors * LANES <= W_out;
                const REAL *pixels = pack ? panel + n * size : line + blocks[n].p;
                REAL *row = output + blocks[n].p / width * row_step + i * plane;
                PANEL(line_vectors)(packed + i * taps, pixels, pack ? NULL : distance, taps, first ? start + i : none,
                                    first ? NULL : sums + at, sums_length, direct ? row + x : last ? values : sums + at,
                                    direct ? plane : last ? 3 * LANES : sums_length, rows, last && relu, vectors);
                for (int r = 0; r < rows && last && !direct; r++)
                    PANEL(line_outputs)(values + r * 3 * LANES, blocks[n].columns, x, width, W_out, row_step, step, row + r * plane);
            }
    }
}

/* packed: panels of ROWS filters (zeros below the last), each by columns; weight (filters, taps). */
static void PANEL(pack_filters)(const REAL *weight, ptrdiff_t row_length, ptrdiff_t filters, ptrdiff_t taps, REAL *packed)
{
    for (ptrdiff_t i = 0; i < filters; i += ROWS)
        PANEL(pack_rows)(weight + i * row_length, row_length, (int)(filters - i < ROWS ? filters - i : ROWS), taps,
                    packed + i * taps);
}

/* The same of the transposed weight and of some taps: row i, column (c, k) is
   weight[i * row_step + c * channel_step + tap[k]]. */
static void PANEL(pack_taps)(const REAL *weight, ptrdiff_t row_step, ptrdiff_t channel_step, ptrdiff_t filters,
                             ptrdiff_t channels, const ptrdiff_t *tap, ptrdiff_t count, REAL *packed)
{
    for (ptrdiff_t i = 0; i < filters; i += ROWS, weight += ROWS * row_step)
        for (ptrdiff_t c = 0; c < channels; c++)
            for (ptrdiff_t k = 0; k < count; k++)
                for (int r = 0; r < ROWS; r++)
                    *packed++ = i + r < filters ? weight[r * row_step + c * channel_step + tap[k]] : 0;
}

/* sum[i][t] += a vector of grads[i] * the pixels of tap t. */
CYCONV_INLINE void PANEL(add_line_dots)(PANEL(vector) sum[][3], const REAL *grads, ptrdiff_t grad_length, const REAL *line,
                                        const ptrdiff_t *distance, const int taps, const int height)
{
    PANEL(vector) pixels[3];
    for (int t = 0; t < taps; t++) pixels[t] = *(const PANEL(memory) *)(line + distance[t]);
#pragma GCC unroll 8
    for (int i = 0; i < height; i++) {
        const PANEL(vector) factor = *(const PANEL(memory) *)(grads + i * grad_length);
        for (int t = 0; t < taps; t++) MULTIPLY_ADD(sum[i][t], factor, pixels[t]);
    }
}

/* sums[t][i] += the products over p < count of grads[i * grad_length + p] and line[distance[t] + p], for `height` rows i
   of ROWS and taps t < taps: vectors, whose elements `close_dots` adds up. count is a whole number of vectors. */
CYCONV_INLINE void PANEL(line_dot_block)(const REAL *grads, ptrdiff_t grad_length, const REAL *line,
                                         const ptrdiff_t *distance, ptrdiff_t count, REAL *sums, const int taps,
                                         const int height)
{
    PANEL(vector) sum[ROWS][3];
#pragma GCC unroll 8
    for (int i = 0; i < height; i++)
        for (int t = 0; t < taps; t++) sum[i][t] = (PANEL(vector)){0};
    ptrdiff_t p = 0;
    for (; p + UNROLL * LANES <= count; p += UNROLL * LANES)
#pragma GCC unroll 8
        for (int q = 0; q < UNROLL * LANES; q += LANES)
            PANEL(add_line_dots)(sum, grads + p + q, grad_length, line + p + q, distance, taps, height);
    for (; p < count; p += LANES) PANEL(add_line_dots)(sum, grads + p, grad_length, line + p, distance, taps, height);
#pragma GCC unroll 8
    for (int i = 0; i < height; i++) /* only now: short sums round less than long ones */
        for (int t = 0; t < taps; t++) *(PANEL(memory) *)(sums + (t * ROWS + i) * LANES) += sum[i][t];
}

/* The same of ROWS rows, or of half as many where no more are filters'. */
CYCONV_INLINE void PANEL(line_dot_rows)(const REAL *grads, ptrdiff_t grad_length, ptrdiff_t rows, const REAL *line,
                                        const ptrdiff_t *distance, ptrdiff_t count, REAL *sums, const int taps)
{
    if (rows > ROWS / 2) PANEL(line_dot_block)(grads, grad_length, line, distance, count, sums, taps, ROWS);
    else PANEL(line_dot_block)(grads, grad_length, line, distance, count, sums, taps, ROWS / 2);
}

/* The products of `filters` filters and all taps: panels of ROWS rows of grads (zeros below the last). */
static void PANEL(line_dots)(const REAL *grads, ptrdiff_t grad_length, ptrdiff_t filters, const REAL *line,
                             const ptrdiff_t *distance, ptrdiff_t taps, ptrdiff_t count, REAL *sums)
{
    for (ptrdiff_t i = 0; i < filters; i += ROWS, grads += ROWS * grad_length, sums += taps * ROWS * LANES) {
        ptrdiff_t t = 0;
        for (; t + 3 <= taps; t += 3)
            PANEL(line_dot_rows)(grads, grad_length, filters - i, line, distance + t, count, sums + t * ROWS * LANES, 3);
        if (taps - t == 2) PANEL(line_dot_rows)(grads, grad_length, filters - i, line, distance + t, count, sums + t * ROWS * LANES, 2);
        else if (taps - t == 1) PANEL(line_dot_rows)(grads, grad_length, filters - i, line, distance + t, count, sums + t * ROWS * LANES, 1);
    }
}

/* totals[i * length + t] = the elements of the vector of filter i < filters and tap t, added up. */
static void PANEL(close_dots)(const REAL *sums, ptrdiff_t filters, ptrdiff_t taps, REAL *totals, ptrdiff_t length)
{
    for (ptrdiff_t i = 0; i < filters; i += ROWS)
        for (ptrdiff_t t = 0; t < taps; t++, sums += ROWS * LANES) {
            PANEL(vector) v[ROWS];
            memcpy(v, sums, sizeof v);
#if LANES >= ROWS /* shuffled and added, until element l is a part of row l % ROWS */
#pragma GCC unroll 4
            for (int left = ROWS; left > 1; left /= 2) {
                PANEL(shuffle)(v, left);
#pragma GCC unroll 8
                for (int r = 0; r < left / 2; r++) v[r] = v[2 * r] + v[2 * r + 1];
            }
#endif
            for (ptrdiff_t r = 0; r < ROWS && i + r < filters; r++) {
                REAL total = 0;
#if LANES >= ROWS
                for (int l = 0; l < LANES; l += ROWS) total += ((const REAL *)v)[l + r];
#else
                for (int l = 0; l < LANES; l++) total += ((const REAL *)&v[r])[l];
#endif
                totals[(i + r) * length + t] = total;
            }
        }
}
