/* Convolution of one channel by one filter, without a product of matrices: rows of the image are laid out
   once in lines padded with zeros, and each output vector is a sum over the taps. Included once for each type.

   A line of stride s is kept as s phases, so that the pixels under one tap of neighbouring outputs are
   neighbours: pixel x is at (x % s) * phase + x / s. */

/* One image row (NULL: all zeros) from pixel `start` on: phase[p][t] = row[start + t*stride + p], or 0 outside.
   With `spread` > 1 there are spread - 1 zeros between the row's pixels: start and t count these too. */
static void PANEL(line)(const REAL *row, ptrdiff_t W, ptrdiff_t start, ptrdiff_t stride, ptrdiff_t spread,
                        ptrdiff_t phase, REAL *line)
{
    memset(line, 0, stride * phase * sizeof(REAL));
    if (row == NULL) return;
    if (spread > 1) { /* stride is 1 */
        for (ptrdiff_t x = 0; x < W; x++) {
            const ptrdiff_t t = x * spread - start;
            if (t >= 0 && t < phase) line[t] = row[x];
        }
        return;
    }
    for (ptrdiff_t p = 0; p < stride; p++) {
        const ptrdiff_t x = start + p; /* row[x + t*stride] at t */
        const ptrdiff_t first = x < 0 ? (-x + stride - 1) / stride : 0;
        const ptrdiff_t inside = x < W ? (W - 1 - x) / stride + 1 : 0;
        const ptrdiff_t past = inside < phase ? inside : phase;
        const REAL *pixels = row + x;
        REAL *target = line + p * phase;
        if (stride == 1) {
            if (past > first) memcpy(target + first, pixels + first, (past - first) * sizeof(REAL));
        } else if (stride == 2)
            for (ptrdiff_t t = first; t < past; t++) target[t] = pixels[2 * t];
        else
            for (ptrdiff_t t = first; t < past; t++) target[t] = pixels[t * stride];
    }
}

/* output[x] = start + sum over taps of weight[i, j] * lines[i][place[j] + x]; with `add`, output += . */
static void PANEL(taps_row)(REAL *const *lines, const ptrdiff_t *place, ptrdiff_t kernel_h, ptrdiff_t kernel_w,
                            const REAL *weight, REAL start, int add, REAL *output, ptrdiff_t count)
{
    for (ptrdiff_t x = 0; x < count; x += 2 * LANES) {
        PANEL(vector) sum[2];
        for (int v = 0; v < 2; v++)
            for (int l = 0; l < LANES; l++) ((REAL *)&sum[v])[l] = start;
        for (ptrdiff_t i = 0; i < kernel_h; i++) {
            for (ptrdiff_t j = 0; j < kernel_w; j++) {
                const REAL *pixels = lines[i] + place[j] + x;
                const REAL w = weight[i * kernel_w + j];
                for (int v = 0; v < 2; v++) sum[v] += w * *(const PANEL(memory) *)(pixels + v * LANES);
            }
        }
        const ptrdiff_t valid = count - x < 2 * LANES ? count - x : 2 * LANES;
        const REAL *sums = (const REAL *)sum;
        if (add)
            for (ptrdiff_t l = 0; l < valid; l++) output[x + l] += sums[l];
        else if (valid == 2 * LANES)
            for (int v = 0; v < 2; v++) *(PANEL(memory) *)(output + x + v * LANES) = sum[v];
        else
            for (ptrdiff_t l = 0; l < valid; l++) output[x + l] = sums[l];
    }
}

/* sums[tap][LANES] += grad[x] * lines[i][place[j] + x] for all x < count. */
static void PANEL(taps_gradient)(REAL *const *lines, const ptrdiff_t *place, ptrdiff_t kernel_h,
                                 ptrdiff_t kernel_w, const REAL *grad, ptrdiff_t count, REAL *sums)
{
    for (ptrdiff_t i = 0; i < kernel_h; i++) {
        for (ptrdiff_t j = 0; j < kernel_w; j++) {
            const REAL *pixels = lines[i] + place[j];
            PANEL(memory) *target = (PANEL(memory) *)(sums + (i * kernel_w + j) * LANES);
            PANEL(vector) sum = *target;
            ptrdiff_t x = 0;
            for (; x + LANES <= count; x += LANES)
                sum += *(const PANEL(memory) *)(grad + x) * *(const PANEL(memory) *)(pixels + x);
            for (ptrdiff_t l = 0; x + l < count; l++) ((REAL *)&sum)[l] += grad[x + l] * pixels[x + l];
            *target = sum;
        }
    }
}
