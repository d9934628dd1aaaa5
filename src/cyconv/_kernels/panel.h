/* The micro-kernel: a block of ROWS x (vectors * LANES) of C := A B (+ C), kept in registers.

   A is packed by columns of ROWS elements, B by rows of `width` elements, so that both are read once,
   in order. Included once for each type, with REAL, LANES and PANEL(name) defined. */

typedef REAL PANEL(vector) VECTOR_OF(LANES);
#if defined(__GNUC__)
typedef REAL PANEL(memory) __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
#else
typedef REAL PANEL(memory);
#endif

/* With `direct` A is not packed: its rows are a_length apart, and the next ROWS of them are fetched meanwhile. */
CYCONV_INLINE void PANEL(block)(
    const REAL *a, ptrdiff_t a_length, const REAL *b, ptrdiff_t width, ptrdiff_t k, REAL *c, ptrdiff_t ldc, int rows,
    int accumulate, const int vectors, const int direct)
{
    PANEL(vector) sum[ROWS][3];
    memset(sum, 0, sizeof sum);
    for (ptrdiff_t p = 0; p < k; p++) {
        PANEL(vector) row[3];
        for (int v = 0; v < vectors; v++) row[v] = *(const PANEL(memory) *)(b + v * LANES);
        if (direct && p % 16 == 0)
            for (int i = 0; i < ROWS; i++) cyconv_prefetch(a + (ROWS + i) * a_length, 1);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; i++)
            for (int v = 0; v < vectors; v++) sum[i][v] += a[direct ? i * a_length : i] * row[v];
        a += direct ? 1 : ROWS;
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
    if (vectors == 3) PANEL(block)(a, 0, b, width, k, c, ldc, rows, accumulate, 3, 0);
    else if (vectors == 2) PANEL(block)(a, 0, b, width, k, c, ldc, rows, accumulate, 2, 0);
    else PANEL(block)(a, 0, b, width, k, c, ldc, rows, accumulate, 1, 0);
}

/* The same of ROWS rows of A where they lie, a_length apart. */
static void PANEL(direct_product)(
    const REAL *a, ptrdiff_t a_length, const REAL *b, ptrdiff_t width, ptrdiff_t k, REAL *c, ptrdiff_t ldc,
    int accumulate, int vectors)
{
    if (vectors == 3) PANEL(block)(a, a_length, b, width, k, c, ldc, ROWS, accumulate, 3, 1);
    else if (vectors == 2) PANEL(block)(a, a_length, b, width, k, c, ldc, ROWS, accumulate, 2, 1);
    else PANEL(block)(a, a_length, b, width, k, c, ldc, ROWS, accumulate, 1, 1);
}

/* The perfect shuffle of `count` vectors: the elements of the first half alternate with those of the second.
   It rotates the bits of an element's index by one, so log2(count) of them transpose (count, LANES). */
CYCONV_INLINE void PANEL(shuffle)(PANEL(vector) *v, const int count)
{
    PANEL(vector) out[LANES > 8 ? LANES : 8];
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
            for (int i = 0; i < ROWS; i++) cyconv_prefetch(a + (ROWS + i) * lda + p, 1); /* the next panel */
            PANEL(load_transposed)(a + p, lda, v, ROWS);
            for (int i = 0; i < ROWS; i++) *(PANEL(memory) *)(packed + p * ROWS + i * LANES) = v[i];
        }
    for (; p < k; p++)
        for (int i = 0; i < ROWS; i++) packed[p * ROWS + i] = i < rows ? a[i * lda + p] : 0;
}

/* packed[p][j] = B[p][j] of `columns` columns, at most 3 * LANES (zeros up to a whole vector), or of B stored
   transposed; rows of packed are 3 * LANES apart. */
static void PANEL(pack_columns)(const REAL *b, ptrdiff_t ldb, int transposed, ptrdiff_t columns, ptrdiff_t k,
                                REAL *packed)
{
    const ptrdiff_t width = 3 * LANES, whole = columns / LANES * LANES, rest = columns - whole;
    if (!transposed) {
        for (ptrdiff_t p = 0; p < k; p++, b += ldb, packed += width) {
            cyconv_prefetch(b + width, width * sizeof(REAL)); /* the next panel: rows may lie in as many pages */
            if (columns == width)
                for (int v = 0; v < 3; v++) *(PANEL(memory) *)(packed + v * LANES) = *(const PANEL(memory) *)(b + v * LANES);
            else {
                memcpy(packed, b, columns * sizeof(REAL));
                memset(packed + columns, 0, (width - columns) * sizeof(REAL));
            }
        }
        return;
    }
    ptrdiff_t p = 0;
    for (; p + LANES <= k; p += LANES)
        for (ptrdiff_t j = 0; j < whole; j += LANES) {
            PANEL(vector) v[LANES];
            PANEL(load_transposed)(b + j * ldb + p, ldb, v, LANES);
            for (int l = 0; l < LANES; l++) *(PANEL(memory) *)(packed + (p + l) * width + j) = v[l];
        }
    for (; p < k; p++)
        for (ptrdiff_t j = 0; j < whole; j++) packed[p * width + j] = b[j * ldb + p];
    if (rest)
        for (p = 0; p < k; p++)
            for (ptrdiff_t l = 0; l < LANES; l++) packed[p * width + whole + l] = l < rest ? b[(whole + l) * ldb + p] : 0;
}

/* C (m, n) := op(A) op(B), or C + op(A) op(B), row-major; op(A) is (m, k), stored (k, m) if transposed_a, op(B) is
   (k, n), stored (n, k) if transposed_b. scratch: PANEL_SCRATCH(LANES) elements.

   A panel of B, 3 * LANES columns, is read by every panel of A while in the L1 cache; the panels of A, GEMM_ROWS
   rows, lie in the L2 cache. Each element of C is one sum over p in order, in steps of PANEL_DEPTH: the same bits
   however C is divided. */
static void PANEL(gemm)(int transposed_a, int transposed_b, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const REAL *a,
                        ptrdiff_t lda, const REAL *b, ptrdiff_t ldb, int accumulate, REAL *c, ptrdiff_t ldc,
                        REAL *scratch)
{
    const ptrdiff_t width = 3 * LANES;
    REAL *packed_a = scratch, *packed_b = packed_a + GEMM_ROWS * PANEL_DEPTH, *sums = packed_b + width * PANEL_DEPTH;
    const ptrdiff_t passes = (k + PANEL_DEPTH - 1) / PANEL_DEPTH, most = passes ? (k + passes - 1) / passes : 0;
    const int few = !transposed_a && n <= 2 * width; /* columns: A is read too seldom to be worth packing */
    for (ptrdiff_t p = 0; p < k; p += most, accumulate = 1) {
        const ptrdiff_t depth = k - p < most ? k - p : most;
        for (ptrdiff_t i0 = 0; i0 < m; i0 += GEMM_ROWS) {
            const ptrdiff_t block = m - i0 < GEMM_ROWS ? m - i0 : GEMM_ROWS;
            for (ptrdiff_t j = 0, columns; j < n; j += columns) {
                columns = n - j < width ? n - j : n - j > width && n - j <= 4 * LANES ? 2 * LANES : width; /* no lone vector */
                const int vectors = (int)((columns + LANES - 1) / LANES), partial = columns % LANES != 0;
                const REAL *panel = transposed_b ? b + j * ldb + p : b + p * ldb + j;
                ptrdiff_t step = ldb;
                if (transposed_b || partial || block > 2 * ROWS) { /* few rows read B as fast where it lies */
                    PANEL(pack_columns)(panel, ldb, transposed_b, columns, depth, packed_b);
                    panel = packed_b;
                    step = width;
                }
                for (ptrdiff_t i = i0; i < i0 + block; i += ROWS) {
                    const int rows = (int)(m - i < ROWS ? m - i : ROWS);
                    const REAL *factors = a + (transposed_a ? p * lda + i : i * lda + p);
                    REAL *panel_a = packed_a + (i - i0) * PANEL_DEPTH, *target = partial ? sums : c + i * ldc + j;
                    const ptrdiff_t length = partial ? width : ldc;
                    if (few && rows == ROWS)
                        PANEL(direct_product)(factors, lda, panel, step, depth, target, length, accumulate && !partial, vectors);
                    else {
                        if (j == 0) /* just before its first use: products go on while it is fetched from memory */
                            PANEL(pack)(factors, lda, transposed_a, rows, depth, panel_a);
                        PANEL(product)(panel_a, panel, step, depth, target, length, rows, accumulate && !partial, vectors);
                    }
                    if (!partial) continue;
                    target = c + i * ldc + j;
                    for (int r = 0; r < rows; r++)
                        for (ptrdiff_t l = 0; l < columns; l++)
                            target[r * ldc + l] = accumulate ? target[r * ldc + l] + sums[r * width + l] : sums[r * width + l];
                }
            }
        }
    }
}

/* max(0, v), element by element; NaN stays NaN. */
CYCONV_INLINE PANEL(vector) PANEL(rectified)(PANEL(vector) v)
{
#if defined(__GNUC__)
    typedef BITS PANEL(mask) __attribute__((vector_size(LANES * sizeof(REAL))));
    return (PANEL(vector))((PANEL(mask))v & ~(PANEL(mask))(v <= 0));
#else
    return v <= 0 ? 0 : v;
#endif
}
