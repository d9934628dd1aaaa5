/* The transforms of Winograd's minimal filtering, F(m x m, r x r) with m + r = 7, r in 2..5: tiles of 6x6 pixels; or
   F(m, r) along one axis: tiles of 6.

   y = A^T [(G g) * (B^T d)] in each direction (Winograd, 1980; Lavin and Gray, 2016), made from the points
   0, +-P, +-Q, infinity by the Toom-Cook construction. P = 5/8 and Q = 3/2 keep the matrices small: the
   largest error in float32 is a third of that of the usual +-1, +-2. The pairs +-p share their even and odd
   halves. Loops run along tiles, LANES at a time, of whatever rows and images. Included once for each type, after
   panel.h and depthwise.h. */

typedef REAL PANEL(filters) VECTOR_OF(ROWS);
#if LANES > 8
typedef REAL PANEL(eight) __attribute__((vector_size(8 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
#endif

/* B^T d: six pixels to six values, elementwise on vectors. */
#define WINOGRAD_INPUT(type, d, v)                                                                        \
    do {                                                                                            \
        const REAL p2 = WP * WP, q2 = WQ * WQ;                                                      \
        const type even_p = d[4] - q2 * d[2], odd_p = WP * (d[3] - q2 * d[1]);          \
        const type even_q = d[4] - p2 * d[2], odd_q = WQ * (d[3] - p2 * d[1]);          \
        v[0] = d[4] - (p2 + q2) * d[2] + p2 * q2 * d[0];                                            \
        v[1] = even_p + odd_p;                                                                      \
        v[2] = even_p - odd_p;                                                                      \
        v[3] = even_q + odd_q;                                                                      \
        v[4] = even_q - odd_q;                                                                      \
        v[5] = d[5] - (p2 + q2) * d[3] + p2 * q2 * d[1];                                            \
    } while (0)

/* A^T v: six values to m sums. */
#define WINOGRAD_OUTPUT(type, v, y, m)                                                                    \
    do {                                                                                            \
        const REAL p2 = WP * WP, q2 = WQ * WQ;                                                      \
        const type sum_p = v[1] + v[2], difference_p = WP * (v[1] - v[2]);              \
        const type sum_q = v[3] + v[4], difference_q = WQ * (v[3] - v[4]);              \
        y[0] = v[0] + sum_p + sum_q;                                                                \
        y[1] = difference_p + difference_q;                                                         \
        if (m > 2) y[2] = p2 * sum_p + q2 * sum_q;                                                  \
        if (m > 3) y[3] = p2 * difference_p + q2 * difference_q;                                    \
        if (m > 4) y[4] = p2 * p2 * sum_p + q2 * q2 * sum_q;                                        \
        y[m - 1] += v[5];                                                                           \
    } while (0)

/* G g: r weights to six values. */
#define WINOGRAD_WEIGHT(type, g, u, r)                                                                    \
    do {                                                                                            \
        const REAL p2 = WP * WP, q2 = WQ * WQ;                                                      \
        const REAL zero = 1 / (p2 * q2), at_p = 1 / (2 * p2 * (p2 - q2)), at_q = 1 / (2 * q2 * (q2 - p2)); \
        type even_p = g[0], odd_p = g[1], even_q = g[0], odd_q = g[1];                              \
        if (r > 2) even_p += p2 * g[2], even_q += q2 * g[2];                                        \
        if (r > 3) odd_p += p2 * g[3], odd_q += q2 * g[3];                                          \
        if (r > 4) even_p += p2 * p2 * g[4], even_q += q2 * q2 * g[4];                              \
        u[0] = zero * g[0];                                                                         \
        u[1] = at_p * (even_p + WP * odd_p);                                                        \
        u[2] = at_p * (even_p - WP * odd_p);                                                        \
        u[3] = at_q * (even_q + WQ * odd_q);                                                        \
        u[4] = at_q * (even_q - WQ * odd_q);                                                        \
        u[5] = g[r - 1];                                                                            \
    } while (0)

/* A y: m gradients to six values, the transpose of WINOGRAD_OUTPUT. */
#define WINOGRAD_GRAD(type, y, v, m)                                                                \
    do {                                                                                            \
        const REAL p2 = WP * WP, q2 = WQ * WQ;                                                      \
        type even_p = y[0], odd_p = WP * y[1], even_q = y[0], odd_q = WQ * y[1];                    \
        if (m > 2) even_p += p2 * y[2], even_q += q2 * y[2];                                        \
        if (m > 3) odd_p += WP * p2 * y[3], odd_q += WQ * q2 * y[3];                                \
        if (m > 4) even_p += p2 * p2 * y[4], even_q += q2 * q2 * y[4];                              \
        v[0] = y[0];                                                                                \
        v[1] = even_p + odd_p;                                                                      \
        v[2] = even_p - odd_p;                                                                      \
        v[3] = even_q + odd_q;                                                                      \
        v[4] = even_q - odd_q;                                                                      \
        v[5] = y[m - 1];                                                                            \
    } while (0)

/* G^T u: six values to r weights, the transpose of WINOGRAD_WEIGHT. */
#define WINOGRAD_TAPS(type, u, g, r)                                                                \
    do {                                                                                            \
        const REAL p2 = WP * WP, q2 = WQ * WQ;                                                      \
        const REAL zero = 1 / (p2 * q2), at_p = 1 / (2 * p2 * (p2 - q2)), at_q = 1 / (2 * q2 * (q2 - p2)); \
        const type even_p = at_p * (u[1] + u[2]), odd_p = at_p * WP * (u[1] - u[2]);                \
        const type even_q = at_q * (u[3] + u[4]), odd_q = at_q * WQ * (u[3] - u[4]);                \
        g[0] = zero * u[0] + even_p + even_q;                                                       \
        g[1] = odd_p + odd_q;                                                                       \
        if (r > 2) g[2] = p2 * even_p + q2 * even_q;                                                \
        if (r > 3) g[3] = p2 * odd_p + q2 * odd_q;                                                  \
        if (r > 4) g[4] = p2 * p2 * even_p + q2 * q2 * even_q;                                      \
        g[r - 1] += u[5];                                                                           \
    } while (0)

/* The pixels first[l] + 0..7, l < LANES, as eight vectors: v[j] holds pixel j of every tile. */
CYCONV_INLINE void PANEL(gather)(const REAL *const *first, ptrdiff_t offset, PANEL(vector) *v)
{
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
#if LANES > 8 /* two tiles in a vector */
        const PANEL(eight) a = *(const PANEL(eight) *)(first[2 * i] + offset);
        const PANEL(eight) b = *(const PANEL(eight) *)(first[2 * i + 1] + offset);
        v[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
        v[i] = *(const PANEL(memory) *)(first[i * LANES / 8] + offset + i * LANES % 8);
#endif
    }
#pragma GCC unroll 4
    for (int lanes = 1; lanes < LANES; lanes *= 2) PANEL(shuffle)(v, 8);
}

CYCONV_INLINE void PANEL(transform_tiles)(const REAL *strip, ptrdiff_t length, const cyconv_tile *tiles, ptrdiff_t count,
                                          const int m, const int gradient, REAL *values, ptrdiff_t plane, ptrdiff_t panel)
{
    for (ptrdiff_t t = 0; t < count; t += LANES) {
        PANEL(vector) half[6][6], v[8], out[6];
        const REAL *first[LANES];
        for (int l = 0; l < LANES; l++) first[l] = strip + tiles[t + l].pixel;
        for (int i = 0; i < (gradient ? m : 6); i++) {
            PANEL(gather)(first, i * length, v);
            if (gradient) WINOGRAD_GRAD(PANEL(vector), v, out, m);
            else WINOGRAD_INPUT(PANEL(vector), v, out);
            for (int j = 0; j < 6; j++) half[j][i] = out[j];
        }
        REAL *target = values + t / (3 * LANES) * panel + t % (3 * LANES);
        for (int j = 0; j < 6; j++) {
            if (gradient) WINOGRAD_GRAD(PANEL(vector), half[j], out, m);
            else WINOGRAD_INPUT(PANEL(vector), half[j], out);
            for (int i = 0; i < 6; i++) *(PANEL(memory) *)(target + (i * 6 + j) * plane) = out[i];
        }
    }
}

/* transform_tiles along one axis. */
CYCONV_INLINE void PANEL(transform_runs)(const REAL *strip, ptrdiff_t length, const cyconv_tile *tiles, ptrdiff_t count,
                                         const int m, const int gradient, const int wide, REAL *values, ptrdiff_t plane,
                                         ptrdiff_t panel)
{
    for (ptrdiff_t t = 0; t < count; t += LANES) {
        PANEL(vector) v[8], out[6];
        const REAL *first[LANES];
        memset(v, 0, sizeof v);
        for (int l = 0; l < LANES && wide; l++) first[l] = strip + tiles[t + l].pixel;
        if (wide) PANEL(gather)(first, 0, v);
        else
            for (int i = 0; i < (gradient ? m : 6); i++) v[i] = *(const PANEL(memory) *)(strip + i * length + t);
        if (gradient) WINOGRAD_GRAD(PANEL(vector), v, out, m);
        else WINOGRAD_INPUT(PANEL(vector), v, out);
        REAL *target = values + t / (3 * LANES) * panel + t % (3 * LANES);
        for (int i = 0; i < 6; i++) *(PANEL(memory) *)(target + i * plane) = out[i];
    }
}

/* values[36] = B^T d B of `count` tiles of 6x6 pixels, or (gradient) A g A^T of m x m gradients; along one axis values[6].
   Tile t's first pixel is strip[tiles[t].pixel], its rows are `length` apart; rows are read 8 pixels wide, and tiles up to a
   whole vector. Of tiles one pixel wide, strip[i * length + t] is pixel i of tile t. Value v of tile t:
   values[v * plane + t / (3 * LANES) * panel + t % (3 * LANES)]. */
static void PANEL(tile_values)(const REAL *strip, ptrdiff_t length, const cyconv_tile *tiles, ptrdiff_t count,
                               const cyconv_kernel *kernel, int gradient, REAL *values, ptrdiff_t plane, ptrdiff_t panel)
{
    const int m = 7 - kernel->r;
    if (kernel->high && kernel->wide) {
        if (!gradient) PANEL(transform_tiles)(strip, length, tiles, count, 0, 0, values, plane, panel); /* for any m */
        else if (m == 2) PANEL(transform_tiles)(strip, length, tiles, count, 2, 1, values, plane, panel);
        else if (m == 3) PANEL(transform_tiles)(strip, length, tiles, count, 3, 1, values, plane, panel);
        else if (m == 4) PANEL(transform_tiles)(strip, length, tiles, count, 4, 1, values, plane, panel);
        else PANEL(transform_tiles)(strip, length, tiles, count, 5, 1, values, plane, panel);
    } else if (kernel->wide) {
        if (!gradient) PANEL(transform_runs)(strip, length, tiles, count, 0, 0, 1, values, plane, panel);
        else PANEL(transform_runs)(strip, length, tiles, count, m, 1, 1, values, plane, panel);
    } else {
        if (!gradient) PANEL(transform_runs)(strip, length, tiles, count, 0, 0, 0, values, plane, panel);
        else PANEL(transform_runs)(strip, length, tiles, count, m, 1, 0, values, plane, panel);
    }
}

/* G g G^T of one channel: tap (i, j) of ROWS filters is at tap[place[i * r + j] * ROWS], or 0 where place is negative. */
CYCONV_INLINE void PANEL(weight_values)(const REAL *tap, const int *place, REAL *values, ptrdiff_t plane, const int r)
{
    PANEL(filters) g[5], half[6][5], u[6];
    for (int j = 0; j < r; j++) {
        for (int i = 0; i < r; i++) {
            if (place[i * r + j] < 0) memset(&g[i], 0, sizeof g[i]);
            else memcpy(&g[i], tap + place[i * r + j] * ROWS, sizeof g[i]);
        }
        WINOGRAD_WEIGHT(PANEL(filters), g, u, r);
        for (int i = 0; i < 6; i++) half[i][j] = u[i];
    }
    for (int i = 0; i < 6; i++) {
        WINOGRAD_WEIGHT(PANEL(filters), half[i], u, r);
        for (int j = 0; j < 6; j++) memcpy(values + (i * 6 + j) * plane, &u[j], sizeof u[j]);
    }
}

/* G g along one axis, of the r taps at place[t]. */
static void PANEL(run_weights)(const REAL *tap, const int *place, REAL *values, ptrdiff_t plane, int r)
{
    PANEL(filters) g[5], u[6];
    memset(g, 0, sizeof g);
    for (int i = 0; i < r; i++)
        if (place[i] >= 0) memcpy(&g[i], tap + place[i] * ROWS, sizeof g[i]);
    WINOGRAD_WEIGHT(PANEL(filters), g, u, r);
    for (int i = 0; i < 6; i++) memcpy(values + i * plane, &u[i], sizeof u[i]);
}

/* ROWS filters of `channels` channels: values[36 or 6][plane], a row of ROWS for each channel; and again, `step` elements on,
   for each of the phases first..past. Tap p of filter f and channel c is weight[f * weight_out + c * weight_in + p].
   packed: height * width * ROWS * WINOGRAD_CHANNELS elements. */
static void PANEL(weight_panel)(const REAL *weight, ptrdiff_t weight_out, ptrdiff_t weight_in, int filters,
                                ptrdiff_t channels, const cyconv_kernel *kernel, int first, int past, int flipped,
                                REAL *values, ptrdiff_t plane, ptrdiff_t step, REAL *packed)
{
    const ptrdiff_t taps = kernel->height * kernel->width;
    if (weight_in == taps) /* the taps of neighbouring channels are neighbours */
        PANEL(pack_rows)(weight, weight_out, filters, channels * taps, packed);
    else
        for (ptrdiff_t c = 0; c < channels; c++)
            PANEL(pack_rows)(weight + c * weight_in, weight_out, filters, taps, packed + c * taps * ROWS);
    for (int phase = first; phase < past; phase++, values += step) {
        int place[25];
        cyconv_places(kernel, phase, flipped, place);
        for (ptrdiff_t c = 0; c < channels; c++) {
            const REAL *tap = packed + c * taps * ROWS;
            if (!kernel->high || !kernel->wide) PANEL(run_weights)(tap, place, values + c * ROWS, plane, kernel->r);
            else if (kernel->r == 2) PANEL(weight_values)(tap, place, values + c * ROWS, plane, 2);
            else if (kernel->r == 3) PANEL(weight_values)(tap, place, values + c * ROWS, plane, 3);
            else if (kernel->r == 4) PANEL(weight_values)(tap, place, values + c * ROWS, plane, 4);
            else PANEL(weight_values)(tap, place, values + c * ROWS, plane, 5);
        }
    }
}

/* Row i of the outputs of `count` tiles, at most LANES: m pixels, pixel j of every tile in y[j]; 8 vectors are changed. */
CYCONV_INLINE void PANEL(store_outputs)(PANEL(vector) *y, const cyconv_tile *tiles, int count, int i, const int m,
                                        const cyconv_made *made, REAL *output)
{
    const int width = m > 4 ? 8 : m > 2 ? 4 : 2; /* of a tile's row, once shuffled */
    const ptrdiff_t H = made->H, W = made->W, step_h = made->stride_h, step_w = made->stride_w;
    /* shuffled, a tile's pixels are neighbours, and tiles in order */
    for (int j = m; j < width; j++) y[j] = (PANEL(vector)){0};
    PANEL(shuffle)(y, width);
    if (width > 2) PANEL(shuffle)(y, width);
    if (width > 4) PANEL(shuffle)(y, width);
    const REAL *pixels = (const REAL *)y;
    if (m == width && tiles->whole >= LANES) { /* one row of whole tiles */
        if (tiles->y + i < H)
            for (int j = 0; j < m; j++) *(PANEL(memory) *)(output + tiles->output + i * W + j * LANES) = y[j];
        return;
    }
    for (int l = 0; l < count; l++, pixels += width) {
        const ptrdiff_t h = tiles[l].y + made->top + i * step_h, w = tiles[l].x + made->left;
        if (h < 0 || h >= H) continue;
        REAL *row = output + tiles[l].output + (made->top + i * step_h) * W + made->left;
        if (w < 0 || w + (m - 1) * step_w >= W)
            for (int j = w < 0; j < m && w + j * step_w < W; j++) row[j * step_w] = pixels[j];
        else if (step_w == 1) memcpy(row, pixels, m * sizeof(REAL));
        else
            for (int j = 0; j < m; j++) row[j * step_w] = pixels[j];
    }
}

/* y[m] := max(0, y + bias), or without relu y + bias; check stays 0 where all are finite: 0 * NaN and 0 * infinity are NaN. */
CYCONV_INLINE void PANEL(finish_outputs)(PANEL(vector) *y, const int m, REAL bias, const int relu, PANEL(vector) *check)
{
    for (int j = 0; j < m; j++) {
        y[j] += bias;
        *check += 0 * y[j];
        if (relu) y[j] = PANEL(rectified)(y[j]);
    }
}

CYCONV_INLINE int PANEL(all_zero)(PANEL(vector) check)
{
    REAL rest = 0;
    for (int l = 0; l < LANES; l++) rest += ((REAL *)&check)[l];
    return rest == 0;
}

CYCONV_INLINE int PANEL(inverse_tiles)(const REAL *values, ptrdiff_t plane, const cyconv_tile *tiles, ptrdiff_t count,
                                      const int m, REAL bias, const int relu, const cyconv_made made, REAL *output)
{
    PANEL(vector) check;
    memset(&check, 0, sizeof check);
    for (ptrdiff_t t = 0; t < count; t += LANES) {
        PANEL(vector) half[5][6], v[6], y[8];
        for (int j = 0; j < 6; j++) {
            for (int i = 0; i < 6; i++) v[i] = *(const PANEL(memory) *)(values + (i * 6 + j) * plane + t);
            WINOGRAD_OUTPUT(PANEL(vector), v, y, m);
            for (int i = 0; i < m; i++) half[i][j] = y[i];
        }
        for (int i = 0; i < m; i++) {
            WINOGRAD_OUTPUT(PANEL(vector), half[i], y, m);
            PANEL(finish_outputs)(y, m, bias, relu, &check);
            PANEL(store_outputs)(y, tiles + t, (int)(count - t < LANES ? count - t : LANES), i, m, &made, output);
        }
    }
    return PANEL(all_zero)(check);
}

/* The same along one axis: of rows. */
CYCONV_INLINE int PANEL(inverse_rows)(const REAL *values, ptrdiff_t plane, const cyconv_tile *tiles, ptrdiff_t count,
                                      const int m, REAL bias, const int relu, const cyconv_made made, REAL *output)
{
    PANEL(vector) check;
    memset(&check, 0, sizeof check);
    for (ptrdiff_t t = 0; t < count; t += LANES) {
        PANEL(vector) v[6], y[8];
        for (int i = 0; i < 6; i++) v[i] = *(const PANEL(memory) *)(values + i * plane + t);
        WINOGRAD_OUTPUT(PANEL(vector), v, y, m);
        PANEL(finish_outputs)(y, m, bias, relu, &check);
        PANEL(store_outputs)(y, tiles + t, (int)(count - t < LANES ? count - t : LANES), 0, m, &made, output);
    }
    return PANEL(all_zero)(check);
}

/* Of columns: tiles side by side make pieces of m rows. */
CYCONV_INLINE int PANEL(inverse_columns)(const REAL *values, ptrdiff_t plane, const cyconv_tile *tiles, ptrdiff_t count,
                                         const int m, REAL bias, const int relu, const cyconv_made made, REAL *output)
{
    REAL rows[5][8 * LANES];
    PANEL(vector) check;
    memset(&check, 0, sizeof check);
    for (ptrdiff_t first = 0; first < count; first += 8 * LANES, values += 8 * LANES, tiles += 8 * LANES) {
        const ptrdiff_t here = count - first < 8 * LANES ? count - first : 8 * LANES;
        for (ptrdiff_t t = 0; t < here; t += LANES) {
            PANEL(vector) v[6], y[8];
            for (int i = 0; i < 6; i++) v[i] = *(const PANEL(memory) *)(values + i * plane + t);
            WINOGRAD_OUTPUT(PANEL(vector), v, y, m);
            PANEL(finish_outputs)(y, m, bias, relu, &check);
            for (int i = 0; i < m; i++) *(PANEL(memory) *)(rows[i] + t) = y[i];
        }
        for (ptrdiff_t t = 0, run; t < here; t += run) {
            run = tiles[t].whole < here - t ? tiles[t].whole : here - t;
            for (int i = 0; i < m && tiles[t].y + i * made.stride_h < made.H; i++)
                PANEL(copy)(output + tiles[t].output + i * made.stride_h * made.W, rows[i] + t, run);
        }
    }
    return PANEL(all_zero)(check);
}

/* `count` tiles of one output channel, or of one of its phases: A^T v A + bias (with relu max(0, that)) into the pixels
   that exist. values[36 or 6][plane] are readable to a whole vector. Returns whether every value is finite. */
static int PANEL(output_tiles)(const REAL *values, ptrdiff_t plane, const cyconv_tile *tiles, ptrdiff_t count,
                               const cyconv_kernel *kernel, REAL bias, int relu, const cyconv_made *made, REAL *output)
{
    const int m = 7 - kernel->r; /* along one axis 3 or more */
    if (!kernel->high)
        return m == 3   ? PANEL(inverse_rows)(values, plane, tiles, count, 3, bias, relu, *made, output)
               : m == 4 ? PANEL(inverse_rows)(values, plane, tiles, count, 4, bias, relu, *made, output)
                        : PANEL(inverse_rows)(values, plane, tiles, count, 5, bias, relu, *made, output);
    if (!kernel->wide)
        return m == 3   ? PANEL(inverse_columns)(values, plane, tiles, count, 3, bias, relu, *made, output)
               : m == 4 ? PANEL(inverse_columns)(values, plane, tiles, count, 4, bias, relu, *made, output)
                        : PANEL(inverse_columns)(values, plane, tiles, count, 5, bias, relu, *made, output);
    return m == 2   ? PANEL(inverse_tiles)(values, plane, tiles, count, 2, bias, relu, *made, output)
           : m == 3 ? PANEL(inverse_tiles)(values, plane, tiles, count, 3, bias, relu, *made, output)
           : m == 4 ? PANEL(inverse_tiles)(values, plane, tiles, count, 4, bias, relu, *made, output)
                    : PANEL(inverse_tiles)(values, plane, tiles, count, 5, bias, relu, *made, output);
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
    REAL check = 0; /* 0 * NaN and 0 * infinity are NaN */
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
        for (ptrdiff_t l = 0; l < LANES && first + l < past; l++, c++) {
            if (c == channels) cyconv_places(kernel, ++phase, 0, place), c = 0;
            REAL *gradient = grad_weight + c * kernel->height * kernel->width;
            for (int t = 0; t < (both ? r * r : r); t++) {
                if (place[t] < 0) continue;
                gradient[place[t]] = ((const REAL *)&taps[t])[l];
                check += 0 * gradient[place[t]];
            }
        }
    }
    return check == 0;
}
