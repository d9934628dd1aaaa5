/* Average pooling by rows of outputs, on the sums of pool.h. Included once for each type.

   Windows see `rows` rows of the image, W pixels long, one after the other in memory; their first columns are
   start + x * stride. A sum is divided by height * width: the pixels of the window that count. Those beyond
   W + pad_right (ceil_mode) never do, those in the padding with `padded` alone. */

#define WIDE_WINDOW 32 /* columns from which on a window is summed for itself, along the rows */

CYCONV_INLINE REAL PANEL(window_size)(ptrdiff_t column, ptrdiff_t kernel_w, ptrdiff_t W, ptrdiff_t pad_right,
                                      int padded, ptrdiff_t height)
{
    const ptrdiff_t most = padded ? W + pad_right : W, least = padded || column > 0 ? column : 0;
    const ptrdiff_t past = column + kernel_w < most ? column + kernel_w : most;
    return (REAL)((past - least) * height);
}

/* The sum of one window. */
static REAL PANEL(window_sum)(const REAL *row, ptrdiff_t rows, ptrdiff_t W, ptrdiff_t column, ptrdiff_t kernel_w)
{
    const ptrdiff_t first = column > 0 ? column : 0, past = column + kernel_w < W ? column + kernel_w : W;
    double total = 0;
    if (first == 0 && past == W) return (REAL)PANEL(sum)(row, 0, rows * W);
    for (ptrdiff_t i = 0; i < rows; i++)
        if (past - first < WIDE_WINDOW)
            for (ptrdiff_t x = first; x < past; x++) total += row[i * W + x];
        else
            total += PANEL(sum)(row + i * W + first, 0, past - first);
    return (REAL)total;
}

static void PANEL(average_row)(const REAL *pixels, ptrdiff_t rows, ptrdiff_t W, ptrdiff_t start, ptrdiff_t stride,
                               ptrdiff_t kernel_w, ptrdiff_t pad_right, int padded, ptrdiff_t height, ptrdiff_t count,
                               REAL *restrict mean)
{
    const REAL whole = (REAL)(kernel_w * height);
    ptrdiff_t first = PANEL(first)(start, stride), past = PANEL(past)(start + kernel_w - 1, stride, W, count); /* inside */
    int borders = 0; /* whether the windows that are not inside are summed already */
    if (past < first) past = first;
    if (rows > 0 && past - first >= LANES && PANEL(pool_applies)(stride, kernel_w, 1)) {
        const ptrdiff_t row_step = W;
        POOL_CASES(1, 0, pixels + start + first * stride, past - first, 0, mean + first, NULL);
    } else if (kernel_w < WIDE_WINDOW && count > 1) {
        PANEL(pool_lines)(pixels, W, rows, W, start, stride, kernel_w, 1, 1, count, mean);
        borders = 1;
    } else
        first = past = 0;
    for (ptrdiff_t x = first; x < past; x++) mean[x] /= whole;
    for (ptrdiff_t x = 0; x < count; x++) {
        if (x == first) x = past;
        if (x == count) break;
        const ptrdiff_t column = start + x * stride;
        if (!borders) mean[x] = PANEL(window_sum)(pixels, rows, W, column, kernel_w);
        mean[x] /= PANEL(window_size)(column, kernel_w, W, pad_right, padded, height);
    }
}

/* The adjoint: pixels += grad / window_size, for every pixel of each window. */
static void PANEL(share_row)(const REAL *grad, ptrdiff_t rows, ptrdiff_t W, ptrdiff_t start, ptrdiff_t stride,
                             ptrdiff_t kernel_w, ptrdiff_t pad_right, int padded, ptrdiff_t height, ptrdiff_t count,
                             REAL *restrict pixels)
{
    /* The windows' pixels j = b + q * stride are added up by phases b: lines[b][x + q] += share[x] */
    REAL lines[POOL_LINE], line[POOL_LINE], share[POOL_LINE];
    const int narrow = kernel_w < WIDE_WINDOW && stride < WIDE_WINDOW && count > 1;
    const ptrdiff_t over = (kernel_w - 1) / stride, most = narrow ? POOL_LINE / stride - over : POOL_LINE;
    for (ptrdiff_t x0 = 0; x0 < count; x0 += most) {
        const ptrdiff_t outputs = count - x0 < most ? count - x0 : most, from = start + x0 * stride;
        for (ptrdiff_t x = 0; x < outputs; x++)
            share[x] = grad[x0 + x] /
                       PANEL(window_size)(from + x * stride, kernel_w, W, pad_right, padded, height);
        if (!narrow) {
            for (ptrdiff_t x = 0; x < outputs; x++) {
                const ptrdiff_t column = from + x * stride, least = column > 0 ? column : 0;
                const ptrdiff_t past = column + kernel_w < W ? column + kernel_w : W;
                const int whole = least == 0 && past == W; /* rows, which are then one run of memory */
                for (ptrdiff_t i = 0; i < (whole ? 1 : rows); i++)
                    for (ptrdiff_t w = least; w < (whole ? rows * W : past); w++) pixels[i * W + w] += share[x];
            }
            continue;
        }
        const ptrdiff_t phase = outputs + over, length = (outputs - 1) * stride + kernel_w;
        const ptrdiff_t first = from > 0 ? 0 : -from, past = W - from < length ? W - from : length;
        memset(lines, 0, phase * stride * sizeof(REAL));
        for (ptrdiff_t j = 0; j < kernel_w; j++) {
            REAL *sums = lines + j % stride * phase + j / stride;
            for (ptrdiff_t x = 0; x < outputs; x++) sums[x] += share[x];
        }
        const REAL *shares = lines;
        if (stride > 1) {
            PANEL(interleave_row)(lines, phase, stride, phase * stride, 0, line);
            shares = line;
        }
        for (ptrdiff_t i = 0; i < rows; i++)
            for (ptrdiff_t t = first; t < past; t++) pixels[i * W + from + t] += shares[t];
    }
}

#undef WIDE_WINDOW
