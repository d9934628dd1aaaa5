/* Sums along a run of memory, included once for each type. Vectors are added 16 at a time, then closed and added in
   double: the rounding is that of a pairwise sum (Higham, "Accuracy and Stability of Numerical Algorithms", 4.2) or
   less. */

#define SUM_TERMS 16

CYCONV_INLINE double PANEL(across)(const PANEL(vector) *sums)
{
    const PANEL(vector) sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    REAL values[LANES];
    memcpy(values, &sum, sizeof values);
#pragma GCC unroll 4
    for (int half = LANES / 2; half > 0; half /= 2)
#pragma GCC unroll 8
        for (int l = 0; l < half; l++) values[l] += values[l + half];
    return values[0];
}

#define SUM_TERM(value) (squares ? ((value) - mean) * ((value) - mean) : products ? (value) : (value) - mean)

/* totals[0] += the sum of a[i] - mean, or with `squares` that of (a[i] - mean)^2; with `products` totals[0] += the sum
   of a[i] and totals[1] += that of a[i] * (b[i] - mean). */
CYCONV_INLINE void PANEL(sums)(const REAL *a, const REAL *b, REAL mean, ptrdiff_t size, double *totals,
                               const int products, const int squares)
{
    ptrdiff_t i = 0;
    while (size - i >= LANES) {
        const ptrdiff_t blocks = (size - i) / (4 * LANES);
        const ptrdiff_t stop = i + (blocks < SUM_TERMS ? blocks : SUM_TERMS) * 4 * LANES;
        PANEL(vector) first[4], second[4];
        memset(first, 0, sizeof first);
        memset(second, 0, sizeof second);
        for (; i < stop; i += 4 * LANES)
#pragma GCC unroll 4
            for (int v = 0; v < 4; v++) {
                const PANEL(vector) value = *(const PANEL(memory) *)(a + i + v * LANES);
                first[v] += SUM_TERM(value);
                if (products) second[v] += value * (*(const PANEL(memory) *)(b + i + v * LANES) - mean);
            }
        for (; blocks <= SUM_TERMS && i + LANES <= size; i += LANES) {
            const PANEL(vector) value = *(const PANEL(memory) *)(a + i);
            first[0] += SUM_TERM(value);
            if (products) second[0] += value * (*(const PANEL(memory) *)(b + i) - mean);
        }
        totals[0] += PANEL(across)(first);
        if (products) totals[1] += PANEL(across)(second);
    }
    for (; i < size; i++) {
        totals[0] += SUM_TERM(a[i]);
        if (products) totals[1] += a[i] * (b[i] - mean);
    }
}

/* The sum of x[i] - mean. */
static double PANEL(sum)(const REAL *x, REAL mean, ptrdiff_t size)
{
    double totals[2] = {0};
    PANEL(sums)(x, x, mean, size, totals, 0, 0);
    return totals[0];
}

/* The sum of (x[i] - mean)^2. */
static double PANEL(sum_squares)(const REAL *x, REAL mean, ptrdiff_t size)
{
    double totals[2] = {0};
    PANEL(sums)(x, x, mean, size, totals, 0, 1);
    return totals[0];
}

/* Returns the sum of g[i], and adds that of g[i] * (x[i] - mean) to `product`. */
static double PANEL(sum_products)(const REAL *g, const REAL *x, REAL mean, ptrdiff_t size, double *product)
{
    double totals[2] = {0};
    PANEL(sums)(g, x, mean, size, totals, 1, 0);
    *product += totals[1];
    return totals[0];
}

#undef SUM_TERMS
#undef SUM_TERM
