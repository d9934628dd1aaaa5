/* Max pooling by rows of outputs. Included once for each type.

   A NaN wins over everything. Without indices the maximum is first taken down the rows of the window, along whole
   rows of the image, and then along what that leaves. With them the first maximum wins and the last NaN, in
   row-major order: one tap of the window at a time; index -1 marks a window that has met no pixel yet, so that one of
   only -inf keeps its first pixel. */

#define POOL_LINE 2048 /* columns of the image that are taken at once */

CYCONV_INLINE REAL PANEL(larger)(REAL best, REAL value)
{
    const REAL larger = value > best ? value : best; /* best, where either is NaN */
    return value != value ? value : larger;
}

/* best[x] = max over i < rows, j < kernel_w of row[i * row_step + start + x * stride + j * step], x < count, where the
   column lies in 0..W; rows may be 0. */
static void PANEL(pool_row)(const REAL *row, ptrdiff_t row_step, ptrdiff_t rows, ptrdiff_t W, ptrdiff_t start,
                            ptrdiff_t stride, ptrdiff_t kernel_w, ptrdiff_t step, ptrdiff_t count, REAL *restrict best)
{
    REAL line[POOL_LINE + 2 * LANES];
    const ptrdiff_t reach = (kernel_w - 1) * step, most = (POOL_LINE - reach - 1) / stride + 1;
    for (ptrdiff_t x0 = 0; x0 < count; x0 += most, best += most) {
        const ptrdiff_t outputs = count - x0 < most ? count - x0 : most;
        const ptrdiff_t from = start + x0 * stride, length = (outputs - 1) * stride + reach + 1;
        const ptrdiff_t first = from < 0 ? (-from < length ? -from : length) : 0;
        const ptrdiff_t inside = rows > 0 ? (W - from < length ? W - from : length) : 0;
        const ptrdiff_t past = inside > first ? inside : first;
        for (ptrdiff_t t = 0; t < first; t++) line[t] = -INFINITY;
        for (ptrdiff_t t = past; t < length; t++) line[t] = -INFINITY;
        if (past > first) {
            const REAL *pixels = row + from;
            if (rows == 1) memcpy(line + first, pixels + first, (past - first) * sizeof(REAL));
            else if (rows == 2)
                for (ptrdiff_t t = first; t < past; t++) line[t] = PANEL(larger)(pixels[t], pixels[row_step + t]);
            else
                for (ptrdiff_t t = first; t < past; t++)
                    line[t] = PANEL(larger)(PANEL(larger)(pixels[t], pixels[row_step + t]), pixels[2 * row_step + t]);
            for (ptrdiff_t i = 3; i < rows; i++)
                for (ptrdiff_t t = first; t < past; t++) line[t] = PANEL(larger)(line[t], pixels[i * row_step + t]);
        }
        if (stride == 2 && step == 1 && kernel_w == 2)
            for (ptrdiff_t x = 0; x < outputs; x++) best[x] = PANEL(larger)(line[2 * x], line[2 * x + 1]);
        else if (stride == 2 && step == 1 && kernel_w == 3)
            for (ptrdiff_t x = 0; x < outputs; x++)
                best[x] = PANEL(larger)(PANEL(larger)(line[2 * x], line[2 * x + 1]), line[2 * x + 2]);
        else {
            for (ptrdiff_t x = 0; x < outputs; x++) best[x] = line[x * stride];
            for (ptrdiff_t j = 1; j < kernel_w; j++) {
                const REAL *tap = line + j * step;
                if (stride == 1)
                    for (ptrdiff_t x = 0; x < outputs; x++) best[x] = PANEL(larger)(best[x], tap[x]);
                else
                    for (ptrdiff_t x = 0; x < outputs; x++) best[x] = PANEL(larger)(best[x], tap[x * stride]);
            }
        }
    }
}

#define POOL_TAP(stride, place)                                                    \
    for (ptrdiff_t x = 0; x < count; x++) {                                        \
        const REAL value = pixels[x * (stride)];                                   \
        const int wins = (value > best[x]) | (value != value) | (index[x] < 0);    \
        best[x] = wins ? value : best[x];                                          \
        index[x] = wins ? (place) : index[x];                                      \
    }

/* best[x] = max(best[x], pixels[x * stride]), and index[x] = place where that wins. */
static void PANEL(pool_tap)(const REAL *restrict pixels, ptrdiff_t stride, ptrdiff_t count, REAL *restrict best,
                            int *restrict index, int place)
{
    if (stride == 1) POOL_TAP(1, place)
    else if (stride == 2) POOL_TAP(2, place)
    else POOL_TAP(stride, place)
}

/* The same for windows whose pixels lie more than INT_MAX apart: index[x] = position + x * stride. */
static void PANEL(pool_far_tap)(const REAL *restrict pixels, ptrdiff_t stride, ptrdiff_t count, REAL *restrict best,
                                long long *restrict index, long long position)
{
    POOL_TAP(stride, position + x * stride)
}
