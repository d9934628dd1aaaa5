/* Products of few rows: C := A B^T as dot products of stored rows. Nothing is packed, so that a large B is read once,
   at the speed of memory. Each element is LANES sums along k in order, added in one order, whatever rows and columns
   are computed with it. Included once for each type, after panel.h. */

#define DOT_ROWS 4    /* of A and */
#define DOT_COLUMNS (FLOAT_LANES > 8 ? 4 : 3) /* of B at once: 12 sums and 4 operands fill 16 registers; AVX-512 has 32 */

/* totals[i] = the elements of v[i], added up, i < count, a power of two of at most LANES. Halves are added, for all vectors
   together until they are one, then further: in one order, whatever `count`. */
CYCONV_INLINE void PANEL(close_sums)(PANEL(vector) *v, const int count, REAL *totals)
{
#pragma GCC unroll 4
    for (int left = count; left > 1; left /= 2) { /* shuffled, element l is a part of sum l % count in the end */
        PANEL(shuffle)(v, left);
#pragma GCC unroll 8
        for (int i = 0; i < left / 2; i++) v[i] = v[2 * i] + v[2 * i + 1];
    }
    REAL parts[LANES];
    memcpy(parts, v, sizeof parts);
#pragma GCC unroll 4
    for (int half = LANES / 2; half >= count; half /= 2)
#pragma GCC unroll 8
        for (int l = 0; l < half; l++) parts[l] += parts[l + half];
    memcpy(totals, parts, count * sizeof(REAL));
}

/* The last vector of a row, with zeros for what is `counted` already. */
CYCONV_INLINE PANEL(vector) PANEL(uncounted)(const REAL *last, PANEL(ints) counted)
{
#if defined(__GNUC__)
    const PANEL(vector) v = *(const PANEL(memory) *)last;
    return (PANEL(vector))((PANEL(ints))v & ~counted);
#else
    return counted ? 0 : *last;
#endif
}

CYCONV_INLINE void PANEL(dot_block)(const REAL *a, ptrdiff_t lda, const REAL *b, ptrdiff_t ldb, ptrdiff_t k, REAL *c,
                                    ptrdiff_t ldc, int accumulate, const int rows, const int columns)
{
    PANEL(vector) sum[2 * DOT_ROWS][DOT_COLUMNS];
    memset(sum, 0, sizeof sum);
    ptrdiff_t p = 0;
    for (; p + LANES <= k; p += LANES) {
        PANEL(vector) row[DOT_COLUMNS];
#pragma GCC unroll 4
        for (int j = 0; j < columns; j++) row[j] = *(const PANEL(memory) *)(b + j * ldb + p);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            const PANEL(vector) factor = *(const PANEL(memory) *)(a + i * lda + p);
#pragma GCC unroll 4
            for (int j = 0; j < columns; j++) sum[i][j] += factor * row[j];
        }
    }
    if (p > 0 && p < k) { /* the rest, in one more vector */
        PANEL(ints) counted;
        for (int l = 0; l < LANES; l++) ((INT *)&counted)[l] = l < LANES - (k - p) ? -1 : 0;
        PANEL(vector) row[DOT_COLUMNS];
        for (int j = 0; j < columns; j++) row[j] = PANEL(uncounted)(b + j * ldb + k - LANES, counted);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            const PANEL(vector) factor = PANEL(uncounted)(a + i * lda + k - LANES, counted);
            for (int j = 0; j < columns; j++) sum[i][j] += factor * row[j];
        }
        p = k;
    }
    for (int j = 0; j < columns; j++) {
        const int together = LANES < DOT_ROWS ? LANES : DOT_ROWS;
        REAL totals[2 * DOT_ROWS];
#pragma GCC unroll 4
        for (int i = 0; i < rows; i += together) {
            PANEL(vector) v[DOT_ROWS];
#pragma GCC unroll 4
            for (int q = 0; q < together; q++) v[q] = sum[i + q][j]; /* 0 below the last row */
            PANEL(close_sums)(v, together, totals + i);
        }
        for (int i = 0; i < rows; i++) {
            for (ptrdiff_t q = p; q < k; q++) totals[i] += a[i * lda + q] * b[j * ldb + q];
            c[i * ldc + j] = accumulate ? c[i * ldc + j] + totals[i] : totals[i];
        }
    }
}

CYCONV_INLINE void PANEL(dot_rows)(ptrdiff_t m, const REAL *a, ptrdiff_t lda, const REAL *b, ptrdiff_t ldb, ptrdiff_t k,
                                   REAL *c, ptrdiff_t ldc, int accumulate, const int columns)
{
    const int most = columns == 1 ? 2 * DOT_ROWS : DOT_ROWS; /* few sums would wait for each other */
    for (; m >= most; m -= most, a += most * lda, c += most * ldc)
        PANEL(dot_block)(a, lda, b, ldb, k, c, ldc, accumulate, most, columns);
    for (; m >= DOT_ROWS; m -= DOT_ROWS, a += DOT_ROWS * lda, c += DOT_ROWS * ldc)
        PANEL(dot_block)(a, lda, b, ldb, k, c, ldc, accumulate, DOT_ROWS, columns);
    if (m == 3) PANEL(dot_block)(a, lda, b, ldb, k, c, ldc, accumulate, 3, columns);
    else if (m == 2) PANEL(dot_block)(a, lda, b, ldb, k, c, ldc, accumulate, 2, columns);
    else if (m == 1) PANEL(dot_block)(a, lda, b, ldb, k, c, ldc, accumulate, 1, columns);
}

/* C (m, n) := A B^T, or C + A B^T, of A (m, k) and B (n, k), row-major. */
static void PANEL(dots)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const REAL *a, ptrdiff_t lda, const REAL *b,
                        ptrdiff_t ldb, int accumulate, REAL *c, ptrdiff_t ldc)
{
    ptrdiff_t j = 0;
    for (; j + DOT_COLUMNS <= n; j += DOT_COLUMNS)
        PANEL(dot_rows)(m, a, lda, b + j * ldb, ldb, k, c + j, ldc, accumulate, DOT_COLUMNS);
    b += j * ldb, c += j;
    if (n - j == 3) PANEL(dot_rows)(m, a, lda, b, ldb, k, c, ldc, accumulate, 3);
    else if (n - j == 2) PANEL(dot_rows)(m, a, lda, b, ldb, k, c, ldc, accumulate, 2);
    else if (n - j == 1) PANEL(dot_rows)(m, a, lda, b, ldb, k, c, ldc, accumulate, 1);
}
