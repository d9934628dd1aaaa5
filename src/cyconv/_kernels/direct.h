/* Products of pixels and filters in which the lanes of a vector are filters: every pixel is read as a scalar, where it lies in
   a line, so that strides, dilations and the ends of rows cost nothing, and no columns are made (direct.pyx). Included once for
   each type, after panel.h. */

/* sum[i] += the pixels of a tap, at[i][distance], times its row of the panel. */
CYCONV_INLINE void PANEL(add_pixels)(PANEL(vector) *sum, const REAL *const *at, ptrdiff_t distance, const REAL *panel,
                                     const int vectors, const int height)
{
    PANEL(vector) row[PANEL_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) row[v] = *(const PANEL(memory) *)(panel + v * LANES);
#pragma GCC unroll 24
    for (int i = 0; i < height; i++) {
        const PANEL(vector) pixel = at[i][distance] - (PANEL(vector)){0}; /* to all lanes; -0 stays */
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) MULTIPLY_ADD(sum[i * vectors + v], pixel, row[v]);
    }
}

/* sums[i] := or += the products of the panel (taps, vectors * LANES) and the pixels line[place[i] + distance[tap]], for
   `height` pixels. A tap's row of the panel is row[tap], the sums of a pixel are in row target[i]; or NULL, where they follow
   each other. */
CYCONV_INLINE void PANEL(pixel_block)(const REAL *line, const ptrdiff_t *place, const ptrdiff_t *distance, ptrdiff_t taps,
                                      const REAL *panel, const ptrdiff_t *row, REAL *sums, const ptrdiff_t *target, int accumulate,
                                      cyconv_ahead *ahead, const int vectors, const int height)
{
    const ptrdiff_t width = vectors * LANES;
    PANEL(vector) sum[GROUP];
    const REAL *at[GROUP];
#pragma GCC unroll 24
    for (int i = 0; i < height; i++) {
        for (int v = 0; v < vectors; v++) sum[i * vectors + v] = (PANEL(vector)){0};
        at[i] = line + place[i];
    }
    if (vectors < 3) cyconv_fetch(ahead, FETCH_ONCE); /* once: many pixels leave no registers for it */
    ptrdiff_t p = 0;
    for (; p + UNROLL <= taps; p += UNROLL) {
        if (vectors >= 3 && ahead && p % FETCH_STEP == 0) cyconv_fetch(ahead, FETCH_LINES);
#pragma GCC unroll 8
        for (int q = 0; q < UNROLL; q++)
            PANEL(add_pixels)(sum, at, distance[p + q], panel + (row ? row[p + q] : p + q) * width, vectors, height);
    }
    for (; p < taps; p++) PANEL(add_pixels)(sum, at, distance[p], panel + (row ? row[p] : p) * width, vectors, height);
#pragma GCC unroll 24
    for (int i = 0; i < height; i++) {
        PANEL(memory) *to = (PANEL(memory) *)(sums + (target ? target[i] : i) * width);
        for (int v = 0; v < vectors; v++) {
            if (accumulate) sum[i * vectors + v] += to[v];
            to[v] = sum[i * vectors + v];
        }
    }
}

/* The same of any number of pixels, in whole blocks of GROUP / vectors, as many sums as the registers hold; or half as many,
   where no more are left. */
CYCONV_INLINE void PANEL(pixel_blocks)(const REAL *line, const ptrdiff_t *place, ptrdiff_t pixels, const ptrdiff_t *distance,
                                       ptrdiff_t taps, const REAL *panel, const ptrdiff_t *row, REAL *sums, const ptrdiff_t *target,
                                       int accumulate, cyconv_ahead *ahead, const int vectors)
{
    const int height = GROUP / vectors, half = (height + 1) / 2;
    for (; pixels > 0; pixels -= height, place += height) {
        if (pixels > half)
            PANEL(pixel_block)(line, place, distance, taps, panel, row, sums, target, accumulate, ahead, vectors, height);
        else PANEL(pixel_block)(line, place, distance, taps, panel, row, sums, target, accumulate, ahead, vectors, half);
        if (target) target += height;
        else sums += height * vectors * LANES;
    }
}

/* The same: `place` and `sums` have GROUP more. What is `ahead` is fetched meanwhile; it may be NULL. */
static void PANEL(pixel_products)(const REAL *line, const ptrdiff_t *place, ptrdiff_t pixels, const ptrdiff_t *distance,
                                  ptrdiff_t taps, const REAL *panel, const ptrdiff_t *row, int vectors, int accumulate, REAL *sums,
                                  const ptrdiff_t *target, cyconv_ahead *ahead)
{
#define PIXELS_OF(ROW, VECTORS) \
    PANEL(pixel_blocks)(line, place, pixels, distance, taps, panel, ROW, sums, target, accumulate, ahead, VECTORS)
    if (row) {
        if (vectors == 1) PIXELS_OF(row, 1);
        else if (vectors == 2) PIXELS_OF(row, 2);
        else if (vectors == 3) PIXELS_OF(row, 3);
        else PIXELS_OF(row, PANEL_VECTORS);
    } else {
        if (vectors == 1) PIXELS_OF(NULL, 1);
        else if (vectors == 2) PIXELS_OF(NULL, 2);
        else if (vectors == 3) PIXELS_OF(NULL, 3);
        else PIXELS_OF(NULL, PANEL_VECTORS);
    }
#undef PIXELS_OF
}

/* out[l] := or += values[l] + bias, then max(0, that) with `relu`, l < count. */
CYCONV_INLINE void PANEL(store_values)(PANEL(vector) values, ptrdiff_t count, REAL bias, int relu, int accumulate, REAL *out)
{
    values += bias;
    if (accumulate && count >= LANES) values += *(PANEL(memory) *)out;
    else if (accumulate)
        for (ptrdiff_t l = 0; l < count; l++) ((REAL *)&values)[l] += out[l];
    if (relu) values = PANEL(rectified)(values);
    if (count >= LANES) *(PANEL(memory) *)out = values;
    else PANEL(store_few)(out, values, count);
}

/* out[f * plane + p] := or += sums[p * length + f] + bias[f], then max(0, that) with `relu`, for f < filters and p < pixels;
   bias may be NULL. Up to a vector of sums behind the last pixel and the last filter is read. */
static void PANEL(store_pixels)(const REAL *sums, ptrdiff_t length, ptrdiff_t pixels, ptrdiff_t filters, const REAL *bias,
                                int relu, int accumulate, REAL *out, ptrdiff_t plane)
{
    for (ptrdiff_t f = 0; f < filters; f += LANES)
        for (ptrdiff_t p = 0; p < pixels; p += LANES) {
            PANEL(vector) v[LANES];
            PANEL(load_transposed)(sums + p * length + f, length, v, LANES);
            for (ptrdiff_t i = 0; i < LANES && f + i < filters; i++)
                PANEL(store_values)(v[i], pixels - p, bias ? bias[f + i] : 0, relu, accumulate, out + (f + i) * plane + p);
        }
}

/* The same of the pixels of `phases` phases, which take turns in a row of `pixels`: those of phase b are at sums + b * phase. */
static void PANEL(store_phases)(const REAL *sums, ptrdiff_t phase, ptrdiff_t phases, ptrdiff_t length, ptrdiff_t pixels,
                                ptrdiff_t filters, int accumulate, REAL *out, ptrdiff_t plane)
{
    for (ptrdiff_t f = 0; f < filters; f += LANES)
        for (ptrdiff_t p = 0; p < pixels; p += phases * LANES) {
            const ptrdiff_t count = pixels - p < phases * LANES ? pixels - p : phases * LANES;
            const REAL *from = sums + p / phases * length + f;
            PANEL(vector) v[2][LANES];
            for (ptrdiff_t b = 0; b < phases; b++) {
                PANEL(load_transposed)(from + b * phase, length, v[b % 2], LANES);
                for (ptrdiff_t i = 0; i < LANES && f + i < filters && phases != 2; i++) {
                    REAL *to = out + (f + i) * plane + p + b;
                    for (ptrdiff_t l = 0; l * phases + b < count; l++)
                        to[l * phases] = ((REAL *)&v[b % 2][i])[l] + (accumulate ? to[l * phases] : 0);
                }
            }
            for (ptrdiff_t i = 0; i < LANES && f + i < filters && phases == 2; i++) {
                REAL *to = out + (f + i) * plane + p;
                PANEL(store_values)(SHUFFLE_LOW(v[0][i], v[1][i]), count, 0, 0, accumulate, to);
                if (count > LANES) PANEL(store_values)(SHUFFLE_HIGH(v[0][i], v[1][i]), count - LANES, 0, 0, accumulate, to + LANES);
            }
        }
}

/* line[r * count + t] = pixel (y + r, x + t) of a plane (H, W), r < rows, t < count; zeros where that lies outside. */
static void PANEL(lay_padded)(const REAL *plane, ptrdiff_t H, ptrdiff_t W, ptrdiff_t y, ptrdiff_t x, ptrdiff_t rows,
                              ptrdiff_t count, REAL *line)
{
    ptrdiff_t first = x < 0 ? -x : 0, past = W - x < count ? W - x : count; /* t of the pixels inside */
    if (first > count) first = count;
    if (past < first) past = first;
    for (; rows > 0; rows--, y++, line += count) {
        const int inside = y >= 0 && y < H;
        for (ptrdiff_t t = 0; t < (inside ? first : count); t++) line[t] = 0;
        if (!inside) continue;
        PANEL(copy)(line + first, plane + y * W + x + first, past - first);
        for (ptrdiff_t t = past; t < count; t++) line[t] = 0;
    }
}

/* The weights of `filters` filters l, phase by phase: packed (channels, count, width) with the weights weight[c * channel_step +
   l * taps + tap[k]] of its count[phase] taps k; zeros up to width. `room` elements of weight may be read. */
static void PANEL(pack_transposed_taps)(const REAL *weight, ptrdiff_t room, ptrdiff_t taps, ptrdiff_t channel_step,
                                        ptrdiff_t filters, ptrdiff_t channels, const ptrdiff_t *tap, const ptrdiff_t *count,
                                        ptrdiff_t phases, ptrdiff_t width, REAL *packed)
{
    for (ptrdiff_t c = 0; c < channels; c++, weight += channel_step, room -= channel_step)
        for (ptrdiff_t l = 0; l < width; l += LANES)
            for (ptrdiff_t first = 0; first < taps; first += LANES) {
                PANEL(vector) v[LANES];
                const ptrdiff_t here = filters - l < LANES ? filters - l : LANES;
                if (taps < 4 || here < 1 || (l + here - 1) * taps + first + LANES > room) { /* few, or the last ones */
                    memset(v, 0, sizeof v);
                    for (ptrdiff_t t = first; t < taps && t < first + LANES; t++)
                        for (ptrdiff_t i = 0; i < here; i++) ((REAL *)&v[t - first])[i] = weight[(l + i) * taps + t];
                } else if (here == LANES) PANEL(load_transposed)(weight + l * taps + first, taps, v, LANES);
                else PANEL(load_few_transposed)(weight + l * taps + first, taps, v, here);
                REAL *to = packed + l;
                const ptrdiff_t *from = tap;
                for (ptrdiff_t phase = 0; phase < phases; to += channels * count[phase++] * width)
                    for (ptrdiff_t k = 0; k < count[phase]; k++, from++)
                        if (*from >= first && *from < first + LANES)
                            *(PANEL(memory) *)(to + (c * count[phase] + k) * width) = v[*from - first];
            }
}
