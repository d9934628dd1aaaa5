/* The micro-kernel: a block of ROWS x (vectors * LANES) of C := A B (+ C), kept in registers.

   A is packed by columns of ROWS elements, B by rows of `width` elements, so that both are read once,
   in order. Included once for each type, with REAL, LANES and PANEL(name) defined. */

typedef REAL PANEL(vector) VECTOR_OF(LANES);
#if defined(__GNUC__)
typedef REAL PANEL(memory) __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
#else
typedef REAL PANEL(memory);
#endif

CYCONV_INLINE void PANEL(block)(
    const REAL *a, const REAL *b, ptrdiff_t width, ptrdiff_t k, REAL *c, ptrdiff_t ldc, int rows, int accumulate,
    const int vectors)
{
    PANEL(vector) sum[ROWS][3];
    memset(sum, 0, sizeof sum);
    for (ptrdiff_t p = 0; p < k; p++) {
        PANEL(vector) row[3];
        for (int v = 0; v < vectors; v++) row[v] = *(const PANEL(memory) *)(b + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; i++)
            for (int v = 0; v < vectors; v++) sum[i][v] += a[i] * row[v];
        a += ROWS;
        b += width;
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++) {
        if (i >= rows) break;
        for (int v = 0; v < vectors; v++) {
            PANEL(memory) *target = (PANEL(memory) *)(c + i * ldc + v * LANES);
            if (accumulate) sum[i][v] += *target;
            *target = sum[i][v];
        }
    }
}

/* C (rows, vectors * LANES) := A B, or C + A B; rows <= ROWS, vectors in 1..3. */
static void PANEL(product)(
    const REAL *a, const REAL *b, ptrdiff_t width, ptrdiff_t k, REAL *c, ptrdiff_t ldc, int rows, int accumulate,
    int vectors)
{
    if (vectors == 3) PANEL(block)(a, b, width, k, c, ldc, rows, accumulate, 3);
    else if (vectors == 2) PANEL(block)(a, b, width, k, c, ldc, rows, accumulate, 2);
    else PANEL(block)(a, b, width, k, c, ldc, rows, accumulate, 1);
}

/* The perfect shuffle of `count` vectors: the elements of the first half alternate with those of the second.
   It rotates the bits of an element's index by one, so log2(count) of them transpose (count, LANES). */
CYCONV_INLINE void PANEL(shuffle)(PANEL(vector) *v, const int count)
{
    PANEL(vector) out[LANES > ROWS ? LANES : ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < count / 2; i++) {
        out[2 * i] = SHUFFLE_LOW(v[i], v[i + count / 2]);
        out[2 * i + 1] = SHUFFLE_HIGH(v[i], v[i + count / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < count; i++) v[i] = out[i];
}

/* in (count, LANES) at rows `stride` apart, as LANES consecutive rows of `count` in v; count is a power of 2. */
CYCONV_INLINE void PANEL(load_transposed)(const REAL *in, ptrdiff_t stride,
                                                                         PANEL(vector) *v, const int count)
{
#pragma GCC unroll 16
    for (int i = 0; i < count; i++) v[i] = *(const PANEL(memory) *)(in + i * stride);
#pragma GCC unroll 4
    for (int half = 1; half < count; half *= 2) PANEL(shuffle)(v, count);
}

/* out (columns, rows) = the transpose of in (rows, columns). */
static void PANEL(transpose)(const REAL *in, ptrdiff_t ld_in, ptrdiff_t rows, ptrdiff_t columns, REAL *out,
                             ptrdiff_t ld_out)
{
    const ptrdiff_t whole_rows = rows / LANES * LANES, whole_columns = columns / LANES * LANES;
    for (ptrdiff_t i = 0; i < whole_rows; i += LANES)
        for (ptrdiff_t j = 0; j < whole_columns; j += LANES) {
            PANEL(vector) v[LANES];
            PANEL(load_transposed)(in + i * ld_in + j, ld_in, v, LANES);
            for (int l = 0; l < LANES; l++) *(PANEL(memory) *)(out + (j + l) * ld_out + i) = v[l];
        }
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = i < whole_rows ? whole_columns : 0; j < columns; j++) out[j * ld_out + i] = in[i * ld_in + j];
}

/* packed[p][i] = A[i][p] of `rows` rows (zeros below), or of A stored transposed. */
static void PANEL(pack)(const REAL *a, ptrdiff_t lda, int transposed, int rows, ptrdiff_t k, REAL *packed)
{
    ptrdiff_t p = 0;
    if (transposed) {
        for (; p < k; p++, a += lda, packed += ROWS)
            if (rows == ROWS)
                for (int i = 0; i < ROWS; i++) packed[i] = a[i];
            else
                for (int i = 0; i < ROWS; i++) packed[i] = i < rows ? a[i] : 0;
        return;
    }
    if (rows == ROWS)
        for (; p + LANES <= k; p += LANES) {
            PANEL(vector) v[ROWS];
            PANEL(load_transposed)(a + p, lda, v, ROWS);
            for (int i = 0; i < ROWS; i++) *(PANEL(memory) *)(packed + p * ROWS + i * LANES) = v[i];
        }
    for (; p < k; p++)
        for (int i = 0; i < ROWS; i++) packed[p * ROWS + i] = i < rows ? a[i * lda + p] : 0;
}

/* C (m, n) := op(A) B, or C + op(A) B, row-major; op(A) is (m, k), stored (k, m) if transposed.
   scratch: (ROWS + LANES) * PANEL_DEPTH + 3 * ROWS * LANES elements. Each element of C is one sum over p in order, in steps of PANEL_DEPTH:
   the same bits however C is divided. */
static void PANEL(gemm)(int transposed, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const REAL *a, ptrdiff_t lda,
                        const REAL *b, ptrdiff_t ldb, int accumulate, REAL *c, ptrdiff_t ldc, REAL *scratch)
{
    REAL *packed = scratch, *edge = packed + ROWS * PANEL_DEPTH, *sums = edge + LANES * PANEL_DEPTH;
    const ptrdiff_t whole = n / LANES * LANES;
    for (ptrdiff_t p = 0; p < k; p += PANEL_DEPTH, accumulate = 1) {
        const ptrdiff_t depth = k - p < PANEL_DEPTH ? k - p : PANEL_DEPTH;
        const REAL *rows_b = b + p * ldb;
        for (ptrdiff_t q = 0; whole < n && q < depth; q++) /* the last, partial vector of each row of B */
            for (ptrdiff_t l = 0; l < LANES; l++)
                edge[q * LANES + l] = whole + l < n ? rows_b[q * ldb + whole + l] : 0;
        for (ptrdiff_t i = 0; i < m; i += ROWS) {
            const int rows = (int)(m - i < ROWS ? m - i : ROWS);
            PANEL(pack)(a + (transposed ? p * lda + i : i * lda + p), lda, transposed, rows, depth, packed);
            for (ptrdiff_t j = 0; j < whole; j += 3 * LANES) {
                const int vectors = (int)(whole - j < 3 * LANES ? (whole - j) / LANES : 3);
                PANEL(product)(packed, rows_b + j, ldb, depth, c + i * ldc + j, ldc, rows, accumulate, vectors);
            }
            if (whole < n) {
                PANEL(product)(packed, edge, LANES, depth, sums, LANES, rows, 0, 1);
                for (int r = 0; r < rows; r++)
                    for (ptrdiff_t l = 0; l < n - whole; l++) {
                        REAL *target = c + (i + r) * ldc + whole + l;
                        *target = accumulate ? *target + sums[r * LANES + l] : sums[r * LANES + l];
                    }
            }
        }
    }
}
