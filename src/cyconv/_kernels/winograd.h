/* The transforms of Winograd's minimal filtering, with the matrices of winograd_points.h. The lanes of a vector are channels,
   or filters: tiles are transformed one by one, wherever they lie, with no shuffles. Planes are transposed on the way in and
   on the way out. Included once for each type, after gemm.h and depthwise.h. */

/* out[p * LANES + l] = in[l * stride + p], p < count and on to a whole vector: the strips of LANES channels as one. */
static void PANEL(interleave)(const REAL *in, ptrdiff_t stride, ptrdiff_t count, REAL *out)
{
    for (ptrdiff_t p = 0; p < count; p += LANES) {
        PANEL(vector) v[LANES];
        PANEL(load_transposed)(in + p, stride, v, LANES);
        for (int l = 0; l < LANES; l++) *(PANEL(memory) *)(out + (p + l) * LANES) = v[l];
    }
}

/* The same straight from LANES planes (H, W), `plane` apart, as lay_rows takes their rows: strip[(r * count + t) * LANES + l] =
   pixel (y + r * step_h, x + t) of channel l, 0 outside. Up to a vector of pixels behind the strip are changed. */
static void PANEL(lay_channels)(const REAL *planes, ptrdiff_t plane, ptrdiff_t row_length, ptrdiff_t H, ptrdiff_t W, ptrdiff_t y,
                                ptrdiff_t step_h, ptrdiff_t x, ptrdiff_t rows, ptrdiff_t count, REAL *strip)
{
    const ptrdiff_t first = x < 0 ? -x : 0, past = W - x < count ? W - x : count;
    for (; rows > 0; rows--, y += step_h, strip += count * LANES) {
        if (y < 0 || y >= H || first >= past) {
            memset(strip, 0, count * LANES * sizeof(REAL));
            continue;
        }
        const ptrdiff_t row = y * row_length + x;
        memset(strip, 0, first * LANES * sizeof(REAL));
        for (ptrdiff_t t = first; t < past; t += LANES) {
            PANEL(vector) v[LANES];
            REAL ends[LANES][LANES];
            const int inside = row + t + LANES <= plane; /* what is read behind a row, the next one or zeros overwrite */
            for (int l = 0; l < LANES && !inside; l++)
                memcpy(ends[l], planes + l * plane + row + t, (past - t < LANES ? past - t : LANES) * sizeof(REAL));
            PANEL(load_transposed)(inside ? planes + row + t : ends[0], inside ? plane : LANES, v, LANES);
            for (int l = 0; l < LANES; l++) *(PANEL(memory) *)(strip + (t + l) * LANES) = v[l];
        }
        memset(strip + past * LANES, 0, (count - past) * LANES * sizeof(REAL));
    }
}

#undef PAIRED
#if defined(__GNUC__) && LANES == 2 * ROWS
#define PAIRED(a, b, part) PANEL(paired)(a, b, part)
/* The lower halves of two vectors, or with `part` the upper ones. */
CYCONV_INLINE PANEL(vector) PANEL(paired)(PANEL(vector) a, PANEL(vector) b, const int part)
{
#if LANES == 16
    return part ? __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
                : __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
#elif LANES == 8
    return part ? __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15) : __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
#else
    return part ? __builtin_shufflevector(a, b, 2, 3, 6, 7) : __builtin_shufflevector(a, b, 0, 1, 4, 5);
#endif
}
#else
#define PAIRED(a, b, part) (a)
#endif

/* B^T d, or A y with `gradient`, of the columns of one tile: between[j][i] is value i of column j. */
CYCONV_INLINE void PANEL(transform_rows)(const REAL *pixels, ptrdiff_t length, ptrdiff_t step, const int m,
                                         const int gradient, PANEL(vector) (*between)[6])
{
    for (int i = 0; i < (gradient ? m : 6); i++, pixels += length * LANES) {
        PANEL(vector) v[6], out[6];
        for (int j = 0; j < (gradient ? m : 6); j++) v[j] = *(const PANEL(memory) *)(pixels + j * step * LANES);
        if (gradient) WINOGRAD_GRAD(PANEL(vector), v, out, m);
        else WINOGRAD_INPUT(PANEL(vector), v, out);
        for (int j = 0; j < 6; j++) between[j][i] = out[j];
    }
}

/* tile_values along both axes; with `half` two tiles at once, whose parts of ROWS channels make whole vectors. */
CYCONV_INLINE void PANEL(transform_tiles)(const REAL *strip, ptrdiff_t length, ptrdiff_t step, const cyconv_tile *tiles,
                                          ptrdiff_t count, const int m, const int gradient, REAL *values, ptrdiff_t plane,
                                          ptrdiff_t row, ptrdiff_t half)
{
    PANEL(vector) between[2][6][6], out[2][6];
    const int most = half ? 2 : 1; /* tiles at once: halves of two fill a vector of a panel */
    for (ptrdiff_t t = 0, now; t < count; t += now, values += now * row) {
        now = count - t < most ? count - t : most;
        for (int q = 0; q < now; q++)
            PANEL(transform_rows)(strip + tiles[t + q].pixel * LANES, length, step, m, gradient, between[q]);
        for (int j = 0; j < 6; j++) {
            for (int q = 0; q < now; q++) {
                if (gradient) WINOGRAD_GRAD(PANEL(vector), between[q][j], out[q], m);
                else WINOGRAD_INPUT(PANEL(vector), between[q][j], out[q]);
            }
            for (int i = 0; i < 6; i++) {
                REAL *target = values + (i * 6 + j) * plane;
                if (!half) *(PANEL(memory) *)target = out[0][i];
                else if (now == 1)
                    for (int part = 0; part < LANES / ROWS; part++)
                        memcpy(target + part * half, (const REAL *)&out[0][i] + part * ROWS, ROWS * sizeof(REAL));
                else
                    for (int part = 0; part < LANES / ROWS; part++)
                        *(PANEL(memory) *)(target + part * half) = PAIRED(out[0][i], out[1][i], part);
            }
        }
    }
}

/* transform_tiles along one axis, whose pixels are `step` apart. */
CYCONV_INLINE void PANEL(transform_runs)(const REAL *strip, ptrdiff_t step, const cyconv_tile *tiles, ptrdiff_t count,
                                         const int m, const int gradient, REAL *values, ptrdiff_t plane, ptrdiff_t row,
                                         ptrdiff_t half)
{
    for (ptrdiff_t t = 0; t < count; t++, values += row) {
        PANEL(vector) v[6], out[6];
        const REAL *pixels = strip + tiles[t].pixel * LANES;
        for (int i = 0; i < (gradient ? m : 6); i++) v[i] = *(const PANEL(memory) *)(pixels + i * step * LANES);
        if (gradient) WINOGRAD_GRAD(PANEL(vector), v, out, m);
        else WINOGRAD_INPUT(PANEL(vector), v, out);
        for (int i = 0; i < 6; i++) {
            if (!half) *(PANEL(memory) *)(values + i * plane) = out[i];
            else
                for (int part = 0; part < LANES / ROWS; part++)
                    memcpy(values + i * plane + part * half, (const REAL *)&out[i] + part * ROWS, ROWS * sizeof(REAL));
        }
    }
}

/* values[36] = B^T d B of `count` tiles of 6x6 pixels, or (gradient) A g A^T of m x m gradients; along one axis values[6]. Of
   LANES channels: pixel p of channel l is strip[p * LANES + l]; tile t's first pixel is tiles[t].pixel, its rows are `length`
   apart, its pixels in a row `step`. Value v of tile t is at values[v * plane + t * row], or with `half` in parts of ROWS
   channels. */
static void PANEL(tile_values)(const REAL *strip, ptrdiff_t length, ptrdiff_t step, const cyconv_tile *tiles, ptrdiff_t count,
                               const cyconv_kernel *kernel, int gradient, REAL *values, ptrdiff_t plane, ptrdiff_t row,
                               ptrdiff_t half)
{
    const int m = 7 - kernel->r;
    if (!kernel->high || !kernel->wide) {
        if (!kernel->wide) step = length;
        if (!gradient) PANEL(transform_runs)(strip, step, tiles, count, 0, 0, values, plane, row, 0);
        else PANEL(transform_runs)(strip, step, tiles, count, m, 1, values, plane, row, half);
    } else if (!gradient && step == 1) PANEL(transform_tiles)(strip, length, 1, tiles, count, 0, 0, values, plane, row, 0);
    else if (!gradient) PANEL(transform_tiles)(strip, length, step, tiles, count, 0, 0, values, plane, row, 0); /* for any m */
    else if (m == 2) PANEL(transform_tiles)(strip, length, 1, tiles, count, 2, 1, values, plane, row, half);
    else if (m == 3) PANEL(transform_tiles)(strip, length, 1, tiles, count, 3, 1, values, plane, row, half);
    else if (m == 4) PANEL(transform_tiles)(strip, length, 1, tiles, count, 4, 1, values, plane, row, half);
    else PANEL(transform_tiles)(strip, length, 1, tiles, count, 5, 1, values, plane, row, half);
}

/* G g G^T of one channel and LANES filters: tap (i, j) is at taps[place[i * r + j] * width], or 0 where place is negative. */
CYCONV_INLINE void PANEL(weight_values)(const REAL *taps, ptrdiff_t width, const int *place, REAL *values, ptrdiff_t plane,
                                        const int r)
{
    PANEL(vector) g[5], half[6][5], u[6];
    for (int j = 0; j < r; j++) {
        for (int i = 0; i < r; i++) {
            if (place[i * r + j] < 0) memset(&g[i], 0, sizeof g[i]);
            else g[i] = *(const PANEL(memory) *)(taps + place[i * r + j] * width);
        }
        WINOGRAD_WEIGHT(PANEL(vector), g, u, r);
        for (int i = 0; i < 6; i++) half[i][j] = u[i];
    }
    for (int i = 0; i < 6; i++) {
        WINOGRAD_WEIGHT(PANEL(vector), half[i], u, r);
        for (int j = 0; j < 6; j++) *(PANEL(memory) *)(values + (i * 6 + j) * plane) = u[j];
    }
}

/* G g along one axis, of the r taps at place[t]. */
static void PANEL(run_weights)(const REAL *taps, ptrdiff_t width, const int *place, REAL *values, ptrdiff_t plane, int r)
{
    PANEL(vector) g[5], u[6];
    memset(g, 0, sizeof g);
    for (int i = 0; i < r; i++)
        if (place[i] >= 0) g[i] = *(const PANEL(memory) *)(taps + place[i] * width);
    WINOGRAD_WEIGHT(PANEL(vector), g, u, r);
    for (int i = 0; i < 6; i++) *(PANEL(memory) *)(values + i * plane) = u[i];
}

/* packed[tap][f] = weight[f * taps + tap], zeros up to `width`. `more`: at least LANES elements behind them may be read. */
static void PANEL(pack_taps_of)(const REAL *weight, ptrdiff_t filters, ptrdiff_t taps, ptrdiff_t width, int more, REAL *packed)
{
    ptrdiff_t f = 0;
    for (; more && taps < LANES && f + LANES <= filters; f += LANES) {
        PANEL(vector) v[LANES];
        PANEL(load_transposed)(weight + f * taps, taps, v, LANES);
        for (ptrdiff_t t = 0; t < taps; t++) *(PANEL(memory) *)(packed + t * width + f) = v[t];
    }
    for (; f < width; f++)
        for (ptrdiff_t t = 0; t < taps; t++) packed[t * width + f] = f < filters ? weight[f * taps + t] : 0;
}

/* `filters` filters of `channels` channels, zeros up to `width`: values[36 or 6][plane], a row of `width` for each channel;
   and again, `step` elements on, for each of the phases first..past. Tap p of filter f and channel c is
   weight[f * weight_out + c * weight_in + p]. packed: height * width * channels rows. */
static void PANEL(weight_panel)(const REAL *weight, ptrdiff_t weight_out, ptrdiff_t weight_in, ptrdiff_t filters,
                                ptrdiff_t width, ptrdiff_t channels, const cyconv_kernel *kernel, int first, int past,
                                int flipped, REAL *values, ptrdiff_t plane, ptrdiff_t step, REAL *packed)
{
    const ptrdiff_t taps = kernel->height * kernel->width;
    if (weight_in == taps) /* the taps of neighbouring channels are neighbours */
        PANEL(pack_columns)(weight, weight_out, 1, filters, channels * taps, width, packed);
    else
        for (ptrdiff_t c = 0; c < channels; c++)
            PANEL(pack_taps_of)(weight + c * weight_in, filters, taps, width, c + 1 < channels, packed + c * taps * width);
    for (int phase = first; phase < past; phase++, values += step) {
        int place[25];
        cyconv_places(kernel, phase, flipped, place);
        for (ptrdiff_t c = 0; c < channels; c++)
            for (ptrdiff_t f = 0; f < width; f += LANES) {
                const REAL *tap = packed + c * taps * width + f;
                REAL *target = values + c * width + f;
                if (!kernel->high || !kernel->wide) PANEL(run_weights)(tap, width, place, target, plane, kernel->r);
                else if (kernel->r == 2) PANEL(weight_values)(tap, width, place, target, plane, 2);
                else if (kernel->r == 3) PANEL(weight_values)(tap, width, place, target, plane, 3);
                else if (kernel->r == 4) PANEL(weight_values)(tap, width, place, target, plane, 4);
                else PANEL(weight_values)(tap, width, place, target, plane, 5);
            }
    }
}

#define STAGE_TILES 16 /* of one row, whose outputs wait to be transposed: so many that their pixels are whole vectors */

/* y[m] := max(0, y + bias), or without relu y + bias; check stays 0 where all are finite: 0 * NaN and 0 * infinity are NaN. */
CYCONV_INLINE void PANEL(finish_outputs)(PANEL(vector) *y, const int m, PANEL(vector) bias, const int relu,
                                         PANEL(vector) *check)
{
    for (int j = 0; j < m; j++) {
        y[j] += bias;
        *check += 0 * y[j];
        if (relu) y[j] = PANEL(rectified)(y[j]);
    }
}

/* A^T v A + bias of tiles side by side: pixel x of row i to stage[i][x]. */
CYCONV_INLINE void PANEL(inverse_tiles)(const REAL *values, ptrdiff_t plane, ptrdiff_t row, ptrdiff_t count, const int m,
                                        PANEL(vector) bias, int relu, PANEL(vector) (*stage)[6 * STAGE_TILES],
                                        PANEL(vector) *check)
{
    for (ptrdiff_t t = 0; t < count; t++, values += row) {
        PANEL(vector) half[5][6], v[6], y[5];
        for (int j = 0; j < 6; j++) {
            for (int i = 0; i < 6; i++) v[i] = *(const PANEL(memory) *)(values + (i * 6 + j) * plane);
            WINOGRAD_OUTPUT(PANEL(vector), v, y, m);
            for (int i = 0; i < m; i++) half[i][j] = y[i];
        }
        for (int i = 0; i < m; i++) {
            WINOGRAD_OUTPUT(PANEL(vector), half[i], y, m);
            PANEL(finish_outputs)(y, m, bias, relu, check);
            for (int j = 0; j < m; j++) stage[i][t * m + j] = y[j];
        }
    }
}

/* The same along one axis: pixel x of the only row to stage[0][x], or of row i to stage[i][x]. */
CYCONV_INLINE void PANEL(inverse_runs)(const REAL *values, ptrdiff_t plane, ptrdiff_t row, ptrdiff_t count, const int m,
                                       PANEL(vector) bias, int relu, int wide, PANEL(vector) (*stage)[6 * STAGE_TILES],
                                       PANEL(vector) *check)
{
    for (ptrdiff_t t = 0; t < count; t++, values += row) {
        PANEL(vector) v[6], y[5];
        for (int i = 0; i < 6; i++) v[i] = *(const PANEL(memory) *)(values + i * plane);
        WINOGRAD_OUTPUT(PANEL(vector), v, y, m);
        PANEL(finish_outputs)(y, m, bias, relu, check);
        for (int j = 0; j < m; j++) stage[wide ? 0 : j][wide ? t * m + j : t] = y[j];
    }
}

/* Pixels first..past of LANES filters to rows of `filters` planes, `plane` apart: pixel x to output[x * step]. */
CYCONV_INLINE void PANEL(store_rows)(const PANEL(vector) *stage, ptrdiff_t first, ptrdiff_t past, ptrdiff_t filters,
                                     REAL *output, ptrdiff_t plane, ptrdiff_t step)
{
    for (ptrdiff_t x = first; x < past; x += LANES) {
        PANEL(vector) v[LANES];
        if (step == 1 && past - x < LANES && past - first >= LANES) x = past - LANES; /* the last ones again */
        PANEL(load_transposed)((const REAL *)(stage + x), LANES, v, LANES);
        const ptrdiff_t count = past - x < LANES ? past - x : LANES;
        REAL *row = output + x * step;
        if (count == LANES && step == 1 && filters == LANES) {
#pragma GCC unroll 16
            for (int l = 0; l < LANES; l++) *(PANEL(memory) *)(row + l * plane) = v[l];
            continue;
        }
        for (ptrdiff_t l = 0; l < filters; l++, row += plane) {
            if (count == LANES && step == 1) *(PANEL(memory) *)row = v[l];
            else if (step == 1) PANEL(copy)(row, (const REAL *)(v + l), count);
            else
                for (ptrdiff_t i = 0; i < count; i++) row[i * step] = ((const REAL *)(v + l))[i];
        }
    }
}

/* `count` tiles of `filters` output channels, at most LANES, or of one of their phases: A^T v A + bias (with relu max(0,
   that)) into the pixels that exist of planes `size` apart. Value v of tile t is at values[v * plane + t * row]; bias may be
   NULL. Returns whether every value is finite. */
static int PANEL(output_tiles)(const REAL *values, ptrdiff_t plane, ptrdiff_t row, const cyconv_tile *tiles, ptrdiff_t count,
                               const cyconv_kernel *kernel, const REAL *bias, ptrdiff_t filters, int relu,
                               const cyconv_made *made, REAL *output, ptrdiff_t size)
{
    const int m = 7 - kernel->r; /* along one axis 3 or more */
    const int m_h = kernel->high ? m : 1, m_w = kernel->wide ? m : 1;
    const ptrdiff_t step_h = made->stride_h, step_w = made->stride_w;
    PANEL(vector) stage[5][6 * STAGE_TILES], check, shift;
    memset(&check, 0, sizeof check);
    memset(&shift, 0, sizeof shift);
    if (bias) memcpy(&shift, bias, filters * sizeof(REAL));
    for (ptrdiff_t run; count > 0; count -= run, tiles += run, values += run * row) { /* tiles side by side */
        run = tiles->run < count ? tiles->run : count;
        if (run > STAGE_TILES) run = STAGE_TILES;
        if (!kernel->high || !kernel->wide)
            PANEL(inverse_runs)(values, plane, row, run, m, shift, relu, kernel->wide, stage, &check);
        else if (m == 2) PANEL(inverse_tiles)(values, plane, row, run, 2, shift, relu, stage, &check);
        else if (m == 3) PANEL(inverse_tiles)(values, plane, row, run, 3, shift, relu, stage, &check);
        else if (m == 4) PANEL(inverse_tiles)(values, plane, row, run, 4, shift, relu, stage, &check);
        else PANEL(inverse_tiles)(values, plane, row, run, 5, shift, relu, stage, &check);
        const ptrdiff_t w = tiles->x + made->left, rest = made->W - w;
        const ptrdiff_t first = w < 0 ? (-w + step_w - 1) / step_w : 0, inside = rest > 0 ? (rest - 1) / step_w + 1 : 0;
        const ptrdiff_t past = run * m_w < inside ? run * m_w : inside;
        for (int i = 0; i < m_h; i++) {
            const ptrdiff_t h = tiles->y + made->top + i * step_h;
            if (h < 0 || h >= made->H) continue;
            PANEL(store_rows)(stage[i], first, past, filters,
                              output + tiles->output + (made->top + i * step_h) * made->W + made->left, size, step_w);
        }
    }
    return PANEL(all_zero)(check);
}

/* taps[r * r] of LANES channels := G^T u G of the sums. */
CYCONV_INLINE void PANEL(inverse_taps)(const REAL *sums, ptrdiff_t plane, PANEL(vector) *taps, const int r)
{
    PANEL(vector) half[5][6], u[6], g[5];
    for (int j = 0; j < 6; j++) {
        for (int i = 0; i < 6; i++) u[i] = *(const PANEL(memory) *)(sums + (i * 6 + j) * plane);
        WINOGRAD_TAPS(PANEL(vector), u, g, r);
        for (int i = 0; i < r; i++) half[i][j] = g[i];
    }
    for (int i = 0; i < r; i++) {
        WINOGRAD_TAPS(PANEL(vector), half[i], g, r);
        for (int j = 0; j < r; j++) taps[i * r + j] = g[j];
    }
}

/* gradient[c * n + t] = element c of taps[t], c < count, at most LANES. */
CYCONV_INLINE void PANEL(store_taps)(const PANEL(vector) *taps, const int n, ptrdiff_t count, REAL *gradient)
{
    PANEL(vector) v[25 + LANES];
    for (int t = 0; t < n; t += LANES) { /* v[t + c]: taps t.. of channel c */
        for (int i = t; i < t + LANES; i++)
            if (i < n) v[i] = taps[i];
            else memset(&v[i], 0, sizeof v[i]);
#pragma GCC unroll 4
        for (int half = 1; half < LANES; half *= 2) PANEL(shuffle)(v + t, LANES);
    }
    for (ptrdiff_t c = 0; c < count; c++, gradient += n)
        for (int t = 0; t < n; t += LANES) { /* the next channel overwrites what is behind the last tap */
            if (c < count - 1 || n - t >= LANES) *(PANEL(memory) *)(gradient + t) = v[t + c];
            else memcpy(gradient + t, &v[t + c], (n - t) * sizeof(REAL));
        }
}

/* The gradient of one filter, G^T u G: sums[36 or 6][plane] of channels first..past (readable to a whole vector) to
   grad_weight[channel][height][width]. There are `channels` of each phase, one phase after another. Returns whether
   every value is finite. */
static int PANEL(tap_sums)(const REAL *sums, ptrdiff_t plane, ptrdiff_t first, ptrdiff_t past, ptrdiff_t channels,
                           const cyconv_kernel *kernel, REAL *grad_weight)
{
    const int r = kernel->r, both = kernel->high && kernel->wide;
    int phase = (int)(first / channels), place[25];
    ptrdiff_t c = first % channels;
    cyconv_places(kernel, phase, 0, place);
    const int n = both ? r * r : r, plain = n == kernel->height * kernel->width; /* the taps of one phase are the kernel */
    PANEL(vector) check; /* 0 * NaN and 0 * infinity are NaN */
    memset(&check, 0, sizeof check);
    for (; first < past; first += LANES, sums += LANES) {
        PANEL(vector) taps[25];
        if (!both) {
            PANEL(vector) u[6];
            for (int i = 0; i < 6; i++) u[i] = *(const PANEL(memory) *)(sums + i * plane);
            WINOGRAD_TAPS(PANEL(vector), u, taps, r);
        } else if (r == 2) PANEL(inverse_taps)(sums, plane, taps, 2);
        else if (r == 3) PANEL(inverse_taps)(sums, plane, taps, 3);
        else if (r == 4) PANEL(inverse_taps)(sums, plane, taps, 4);
        else PANEL(inverse_taps)(sums, plane, taps, 5);
        for (int t = 0; t < n; t++) check += 0 * taps[t];
        const ptrdiff_t count = past - first < LANES ? past - first : LANES;
        if (plain && r == 3 && both) {
            PANEL(store_taps)(taps, 9, count, grad_weight + first * 9);
            continue;
        }
        for (ptrdiff_t l = 0; l < count; l++, c++) {
            if (c == channels) cyconv_places(kernel, ++phase, 0, place), c = 0;
            REAL *gradient = grad_weight + c * kernel->height * kernel->width;
            for (int t = 0; t < n; t++)
                if (place[t] >= 0) gradient[place[t]] = ((const REAL *)&taps[t])[l];
        }
    }
    return PANEL(all_zero)(check);
}
