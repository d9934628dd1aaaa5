/* The transforms of Winograd's minimal filtering, F(m x m, r x r) with m + r = 7: tiles of 6x6 pixels.

   y = A^T [(G g) * (B^T d)] in each direction (Winograd, 1980; Lavin and Gray, 2016), made from the points
   0, +-P, +-Q, infinity by the Toom-Cook construction. P = 5/8 and Q = 3/2 keep the matrices small: the
   largest error in float32 is a third of that of the usual +-1, +-2. The pairs +-p share their even and odd
   halves. Loops run along a row of tiles, LANES at a time. Included once for each type, after panel.h. */

typedef REAL PANEL(filters) VECTOR_OF(ROWS);

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
        if (m == 4) {                                                                               \
            y[2] = p2 * sum_p + q2 * sum_q;                                                         \
            y[3] = p2 * difference_p + q2 * difference_q + v[5];                                    \
        } else                                                                                      \
            y[1] += v[5];                                                                           \
    } while (0)

/* G g: r weights to six values. */
#define WINOGRAD_WEIGHT(type, g, u, r)                                                                    \
    do {                                                                                            \
        const REAL p2 = WP * WP, q2 = WQ * WQ;                                                      \
        const REAL zero = 1 / (p2 * q2), at_p = 1 / (2 * p2 * (p2 - q2)), at_q = 1 / (2 * q2 * (q2 - p2)); \
        type even_p = g[0] + p2 * g[2], odd_p = g[1], even_q = g[0] + q2 * g[2], odd_q = g[1]; \
        if (r == 5) {                                                                               \
            even_p += p2 * p2 * g[4];                                                               \
            even_q += q2 * q2 * g[4];                                                               \
            odd_p += p2 * g[3];                                                                     \
            odd_q += q2 * g[3];                                                                     \
        }                                                                                           \
        u[0] = zero * g[0];                                                                         \
        u[1] = at_p * (even_p + WP * odd_p);                                                        \
        u[2] = at_p * (even_p - WP * odd_p);                                                        \
        u[3] = at_q * (even_q + WQ * odd_q);                                                        \
        u[4] = at_q * (even_q - WQ * odd_q);                                                        \
        u[5] = g[r - 1];                                                                            \
    } while (0)

/* One image row under `count` tiles, m pixels apart: horizontal[6][padded] = B^T along the row.
   row is NULL in the padding; x is the image column of the first tile's first pixel. */
static void PANEL(input_row)(const REAL *row, ptrdiff_t W, ptrdiff_t x, ptrdiff_t count, ptrdiff_t padded, int m,
                             REAL *line, REAL *phases, REAL *horizontal)
{
    if (row == NULL) {
        memset(horizontal, 0, 6 * padded * sizeof(REAL));
        return;
    }
    const ptrdiff_t length = m * count + 6 - m;
    const ptrdiff_t first = x < 0 ? (-x < length ? -x : length) : 0;
    const ptrdiff_t inside = W - x < length ? W - x : length;
    const ptrdiff_t past = inside > first ? inside : first;
    memset(line, 0, first * sizeof(REAL));
    if (past > first) memcpy(line + first, row + x + first, (past - first) * sizeof(REAL));
    memset(line + past, 0, (m * (padded + LANES) - past) * sizeof(REAL));
    /* pixel j of tile t is phases[j % m][t + j / m] */
    const ptrdiff_t stride = padded + LANES;
    for (ptrdiff_t t = 0; t < stride; t += LANES) {
        PANEL(vector) v[ROWS > 4 ? ROWS : 4];
        for (int j = 0; j < m; j++) v[j] = *(const PANEL(memory) *)(line + m * t + j * LANES);
#pragma GCC unroll 4
        for (int lanes = 1; lanes < LANES; lanes *= 2) {
            if (m == 4) PANEL(shuffle)(v, 4);
            else PANEL(shuffle)(v, 2);
        }
        for (int j = 0; j < m; j++) *(PANEL(memory) *)(phases + j * stride + t) = v[j];
    }
    for (ptrdiff_t t = 0; t < padded; t += LANES) {
        PANEL(vector) d[6], v[6];
        for (int j = 0; j < 6; j++) d[j] = *(const PANEL(memory) *)(phases + j % m * stride + t + j / m);
        WINOGRAD_INPUT(PANEL(vector), d, v);
        for (int j = 0; j < 6; j++) *(PANEL(memory) *)(horizontal + j * padded + t) = v[j];
    }
}

/* One row of tiles: values[36][plane] = B^T down the six rows of horizontal values. A partial vector at the end
   is stored whole where there is `room`: the next row of tiles is written over it. */
static void PANEL(input_column)(REAL *const horizontal[6], ptrdiff_t count, ptrdiff_t padded, ptrdiff_t room,
                                REAL *values, ptrdiff_t plane)
{
    for (int j = 0; j < 6; j++)
        for (ptrdiff_t t = 0; t < count; t += LANES) {
            PANEL(vector) d[6], v[6];
            for (int i = 0; i < 6; i++) d[i] = *(const PANEL(memory) *)(horizontal[i] + j * padded + t);
            WINOGRAD_INPUT(PANEL(vector), d, v);
            REAL *target = values + j * plane + t;
            if (room - t >= LANES)
                for (int i = 0; i < 6; i++) *(PANEL(memory) *)(target + i * 6 * plane) = v[i];
            else
                for (int i = 0; i < 6; i++) memcpy(target + i * 6 * plane, &v[i], (count - t) * sizeof(REAL));
        }
}

/* Tiles of one channel: `rows` rows of `count` tiles, the first at pixel (y, x) of its image.
   values[36][plane], tile t of row i at i * count + t, `room` elements in all;
   scratch: 48 * padded + 2 * m * (padded + LANES) elements. */
static void PANEL(input_tiles)(const REAL *image, ptrdiff_t H, ptrdiff_t W, ptrdiff_t y, ptrdiff_t x, ptrdiff_t rows,
                               ptrdiff_t count, int m, ptrdiff_t room, REAL *values, ptrdiff_t plane,
                               REAL *scratch)
{
    const ptrdiff_t padded = (count + LANES - 1) / LANES * LANES;
    REAL *line = scratch + 8 * 6 * padded, *phases = line + m * (padded + LANES);
    ptrdiff_t next = y;
    for (ptrdiff_t i = 0; i < rows; i++, y += m) {
        REAL *horizontal[6];
        for (; next < y + 6; next++) /* neighbouring tiles share 6 - m rows */
            PANEL(input_row)(next < 0 || next >= H ? NULL : image + next * W, W, x, count, padded, m, line, phases,
                             scratch + (next & 7) * 6 * padded);
        for (int j = 0; j < 6; j++) horizontal[j] = scratch + ((y + j) & 7) * 6 * padded;
        PANEL(input_column)(horizontal, count, padded, room - i * count, values + i * count, plane);
    }
}

/* ROWS filters of `channels` input channels, G g G^T: values[36][plane], rows of ROWS for each channel.
   Weight (i, j) of filter f and channel c is at weight[f * weight_out + c * weight_in + i * r + j], or, flipped,
   at r*r - 1 - (i * r + j). packed: 25 * ROWS * WINOGRAD_CHANNELS elements. */
static void PANEL(weight_panel)(const REAL *weight, ptrdiff_t weight_out, ptrdiff_t weight_in, int filters,
                                ptrdiff_t channels, int r, int flipped, REAL *values, ptrdiff_t plane, REAL *packed)
{
    const ptrdiff_t taps = r * r;
    if (weight_in == taps) /* the taps of neighbouring channels are neighbours */
        PANEL(pack)(weight, weight_out, 0, filters, channels * taps, packed);
    else
        for (ptrdiff_t c = 0; c < channels; c++)
            PANEL(pack)(weight + c * weight_in, weight_out, 0, filters, taps, packed + c * taps * ROWS);
    for (ptrdiff_t c = 0; c < channels; c++) {
        PANEL(filters) g[5], half[6][5], u[6];
        const REAL *tap = packed + c * taps * ROWS;
        for (int j = 0; j < r; j++) {
            for (int i = 0; i < r; i++) {
                const ptrdiff_t place = flipped ? taps - 1 - (i * r + j) : i * r + j;
                memcpy(&g[i], tap + place * ROWS, sizeof g[i]);
            }
            if (r == 3) WINOGRAD_WEIGHT(PANEL(filters), g, u, 3);
            else WINOGRAD_WEIGHT(PANEL(filters), g, u, 5);
            for (int i = 0; i < 6; i++) half[i][j] = u[i];
        }
        for (int i = 0; i < 6; i++) {
            if (r == 3) WINOGRAD_WEIGHT(PANEL(filters), half[i], u, 3);
            else WINOGRAD_WEIGHT(PANEL(filters), half[i], u, 5);
            for (int j = 0; j < 6; j++) memcpy(values + (i * 6 + j) * plane + c * ROWS, &u[j], sizeof u[j]);
        }
    }
}

/* One row of `count` tiles of one output channel: A^T v A + bias into the m output rows that exist.
   Returns whether every value is finite. */
static int PANEL(output_row)(const REAL *values, ptrdiff_t plane, ptrdiff_t count, int m, REAL bias, REAL *output,
                             ptrdiff_t W_out, ptrdiff_t rows, ptrdiff_t columns)
{
    PANEL(vector) check; /* 0 * NaN and 0 * infinity are NaN */
    REAL rest = 0;
    memset(&check, 0, sizeof check);
    for (ptrdiff_t t = 0; t < count; t += LANES) {
        PANEL(vector) half[4][6], v[6], y[ROWS > 4 ? ROWS : 4];
        for (int j = 0; j < 6; j++) {
            for (int i = 0; i < 6; i++) v[i] = *(const PANEL(memory) *)(values + (i * 6 + j) * plane + t);
            if (m == 4) WINOGRAD_OUTPUT(PANEL(vector), v, y, 4);
            else WINOGRAD_OUTPUT(PANEL(vector), v, y, 2);
            for (int i = 0; i < m; i++) half[i][j] = y[i];
        }
        const ptrdiff_t valid = columns - m * t < m * LANES ? columns - m * t : m * LANES;
        for (int i = 0; i < rows; i++) {
            REAL *target = output + i * W_out + m * t;
            /* y[j] holds pixel j of every tile: shuffled, they are in the order of the row */
            if (m == 4) {
                WINOGRAD_OUTPUT(PANEL(vector), half[i], y, 4);
                PANEL(shuffle)(y, 4);
                PANEL(shuffle)(y, 4);
            } else {
                WINOGRAD_OUTPUT(PANEL(vector), half[i], y, 2);
                PANEL(shuffle)(y, 2);
            }
            for (int j = 0; j < m; j++) {
                const ptrdiff_t left = valid - j * LANES;
                y[j] += bias;
                if (left >= LANES) {
                    *(PANEL(memory) *)(target + j * LANES) = y[j];
                    check += 0 * y[j];
                } else
                    for (ptrdiff_t l = 0; l < left; l++) {
                        target[j * LANES + l] = ((REAL *)&y[j])[l];
                        rest += 0 * ((REAL *)&y[j])[l];
                    }
            }
        }
    }
    for (int l = 0; l < LANES; l++) rest += ((REAL *)&check)[l];
    return rest == 0;
}
