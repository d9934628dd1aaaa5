/* The micro-kernel: a block of ROWS x (vectors * LANES) of C := A B (+ C), kept in registers.

   Packed, A lies by columns of ROWS elements and B by rows of 3 * LANES: both are read once, in order. Where that costs
   more than it saves they are read where they lie. Included once for each type, with REAL, LANES and PANEL(name) defined. */

typedef REAL PANEL(vector) VECTOR_OF(LANES);
typedef INT PANEL(ints) VECTOR_OF(LANES);
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
        if (direct && p % (ptrdiff_t)(64 / sizeof(REAL)) == 0)
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

/* C (rows, vectors * LANES) := A B, or C + A B; rows <= ROWS, vectors in 1..3. A is packed where a_length is 0; else
   its ROWS rows are read where they lie, a_length apart. */
static void PANEL(product)(
    const REAL *a, ptrdiff_t a_length, const REAL *b, ptrdiff_t width, ptrdiff_t k, REAL *c, ptrdiff_t ldc, int rows,
    int accumulate, int vectors)
{
    if (a_length) {
        if (vectors == 3) PANEL(block)(a, a_length, b, width, k, c, ldc, rows, accumulate, 3, 1);
        else if (vectors == 2) PANEL(block)(a, a_length, b, width, k, c, ldc, rows, accumulate, 2, 1);
        else PANEL(block)(a, a_length, b, width, k, c, ldc, rows, accumulate, 1, 1);
    } else {
        if (vectors == 3) PANEL(block)(a, 0, b, width, k, c, ldc, rows, accumulate, 3, 0);
        else if (vectors == 2) PANEL(block)(a, 0, b, width, k, c, ldc, rows, accumulate, 2, 0);
        else PANEL(block)(a, 0, b, width, k, c, ldc, rows, accumulate, 1, 0);
    }
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

/* packed[p][i] = A[i][p] of `rows` rows (zeros below). */
static void PANEL(pack_rows)(const REAL *a, ptrdiff_t lda, int rows, ptrdiff_t k, REAL *packed)
{
    ptrdiff_t p = 0;
    if (rows == ROWS)
        for (; p + LANES <= k; p += LANES) {
            PANEL(vector) v[ROWS];
            PANEL(load_transposed)(a + p, lda, v, ROWS);
            for (int i = 0; i < ROWS; i++) *(PANEL(memory) *)(packed + p * ROWS + i * LANES) = v[i];
        }
    for (; p < k; p++)
        for (int i = 0; i < ROWS; i++) packed[p * ROWS + i] = i < rows ? a[i * lda + p] : 0;
}

/* The panels of `rows` rows of A that is stored transposed, RUN_STEP elements apart: its memory is read in runs. */
static void PANEL(pack_runs)(const REAL *a, ptrdiff_t lda, ptrdiff_t rows, ptrdiff_t k, REAL *packed)
{
    const ptrdiff_t whole = rows / ROWS * ROWS;
    for (ptrdiff_t p = 0; p < k; p++, a += lda, packed += ROWS) {
        REAL *panel = packed;
        cyconv_prefetch(a + 4 * lda, rows * sizeof(REAL));
        for (ptrdiff_t r = 0; r < whole; r += ROWS, panel += RUN_STEP)
            for (int i = 0; i < ROWS; i++) panel[i] = a[r + i];
        if (whole < rows)
            for (int i = 0; i < ROWS; i++) panel[i] = whole + i < rows ? a[whole + i] : 0;
    }
}

/* Columns of the next panel of B, where `rest` are left: 3 * LANES, but no lone vector at the end. */
CYCONV_INLINE ptrdiff_t PANEL(panel_columns)(ptrdiff_t rest)
{
    if (rest > 3 * LANES && rest <= 4 * LANES) return 2 * LANES;
    return rest < 3 * LANES ? rest : 3 * LANES;
}

/* packed[p][j] = B[p][j] of `columns` columns, at most 3 * LANES (zeros up to a whole vector), or of B stored
   transposed; rows of packed are 3 * LANES apart. */
static void PANEL(pack_columns)(const REAL *b, ptrdiff_t ldb, int transposed, ptrdiff_t columns, ptrdiff_t k,
                                REAL *packed)
{
    const ptrdiff_t width = 3 * LANES, whole = columns / LANES * LANES, rest = columns - whole;
    if (!transposed) {
        for (ptrdiff_t p = 0; p < k; p++, b += ldb, packed += width) {
            memcpy(packed, b, columns * sizeof(REAL));
            memset(packed + columns, 0, (width - columns) * sizeof(REAL));
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

/* The panels of `columns` columns of B, one after another: whole ones row by row, in runs of memory. With `in_place`
   only the last, if it has no whole vectors. */
static void PANEL(pack_panels)(const REAL *b, ptrdiff_t ldb, int transposed, int in_place, ptrdiff_t columns, ptrdiff_t k,
                               REAL *packed)
{
    const ptrdiff_t width = 3 * LANES;
    ptrdiff_t whole = 0, step;
    while (!transposed && columns - whole >= width && (step = PANEL(panel_columns)(columns - whole)) == width) whole += step;
    for (ptrdiff_t p = 0; p < k && !in_place; p++) {
        REAL *panel = packed + p * width;
        for (const REAL *from = b + p * ldb; from < b + p * ldb + whole; from += width, panel += width * k)
            for (int v = 0; v < 3; v++)
                *(PANEL(memory) *)(panel + v * LANES) = *(const PANEL(memory) *)(from + v * LANES);
    }
    if (!in_place) packed += whole * k;
    for (ptrdiff_t j = whole; j < columns; j += step) {
        step = PANEL(panel_columns)(columns - j);
        if (in_place && step % LANES == 0) continue;
        PANEL(pack_columns)(b + j * (transposed ? ldb : 1), ldb, transposed, step, k, packed);
        packed += width * k;
    }
}

/* ROWS rows of C (or fewer, `rows`) := A B, or C + A B, for `columns` columns, panel by panel; A as product has it.
   Panels of B are packed; unless b is NULL only the last, if it has no whole vectors, and the others lie there. */
static void PANEL(row_of_products)(const REAL *a, ptrdiff_t a_length, const REAL *packed_b, const REAL *b, ptrdiff_t ldb,
                                   ptrdiff_t columns, ptrdiff_t k, REAL *c, ptrdiff_t ldc, int rows, int accumulate,
                                   REAL *sums)
{
    const ptrdiff_t width = 3 * LANES;
    for (ptrdiff_t step; columns > 0; columns -= step, c += step) {
        step = PANEL(panel_columns)(columns);
        const int vectors = (int)((step + LANES - 1) / LANES), partial = step % LANES != 0;
        const int lies = b != NULL && !partial;
        PANEL(product)(a, a_length, lies ? b : packed_b, lies ? ldb : width, k, partial ? sums : c, partial ? width : ldc,
                       rows, accumulate && !partial, vectors);
        for (int r = 0; r < rows && partial; r++)
            for (ptrdiff_t l = 0; l < step; l++)
                c[r * ldc + l] = accumulate ? c[r * ldc + l] + sums[r * width + l] : sums[r * width + l];
        if (b == NULL) packed_b += width * k;
        else b += step;
    }
}

/* C (m, columns) := op(A) B, or C + op(A) B, ROWS rows at once; B as row_of_products has it, k at most PANEL_DEPTH.
   scratch: PANEL_SCRATCH(LANES) elements, of which those of pack_panels stay as they are. */
static void PANEL(rows_of_products)(int transposed_a, ptrdiff_t m, ptrdiff_t columns, ptrdiff_t k, const REAL *a,
                                    ptrdiff_t lda, const REAL *packed_b, const REAL *b, ptrdiff_t ldb, int accumulate,
                                    REAL *c, ptrdiff_t ldc, REAL *scratch)
{
    REAL *packed_a = scratch, *sums = packed_a + PANEL_RUN / ROWS * RUN_STEP;
    for (ptrdiff_t i = 0; i < m; i += ROWS) {
        const int rows = (int)(m - i < ROWS ? m - i : ROWS);
        const REAL *left = transposed_a ? a + i : a + i * lda;
        ptrdiff_t length = 0; /* packed */
        if (!transposed_a && rows == ROWS) length = lda;
        else if (!transposed_a) PANEL(pack_rows)(left, lda, rows, k, packed_a);
        else if (i % PANEL_RUN == 0) PANEL(pack_runs)(left, lda, m - i < PANEL_RUN ? m - i : PANEL_RUN, k, packed_a);
        if (length == 0) left = packed_a + (transposed_a ? i % PANEL_RUN / ROWS * RUN_STEP : 0);
        for (int r = 0; r < ROWS; r++) /* the next rows of C */
            cyconv_prefetch_write(c + (i + ROWS + r) * ldc, columns * sizeof(REAL));
        PANEL(row_of_products)(left, length, packed_b, b, ldb, columns, k, c + i * ldc, ldc, rows, accumulate, sums);
    }
}

/* C (m, n) := op(A) op(B), or C + op(A) op(B), row-major; op(A) is (m, k), stored (k, m) if transposed_a, op(B) is
   (k, n), stored (n, k) if transposed_b. scratch: PANEL_SCRATCH(LANES) elements.

   GEMM_PANELS panels of B lie in the L2 cache while the rows of A pass by, ROWS at once: those stay in the L1 cache,
   where they lie, for all panels. C is written in order. Each of its elements is one sum over p in order, in steps of
   PANEL_DEPTH: the same bits however C is divided. */
static void PANEL(gemm)(int transposed_a, int transposed_b, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const REAL *a,
                        ptrdiff_t lda, const REAL *b, ptrdiff_t ldb, int accumulate, REAL *c, ptrdiff_t ldc,
                        REAL *scratch)
{
    const ptrdiff_t width = 3 * LANES, most_columns = GEMM_PANELS * width;
    REAL *packed_b = scratch + PANEL_RUN / ROWS * RUN_STEP + ROWS * width;
    const ptrdiff_t passes = (k + PANEL_DEPTH - 1) / PANEL_DEPTH, most = passes ? (k + passes - 1) / passes : 0;
    /* few rows read B as fast where it lies, if that is near */
    const int in_place = !transposed_b && m <= 2 * ROWS && k * ldb * (ptrdiff_t)sizeof(REAL) <= IN_CACHE;
    for (ptrdiff_t p = 0; p < k; p += most, accumulate = 1) {
        const ptrdiff_t depth = k - p < most ? k - p : most;
        for (ptrdiff_t j = 0, columns; j < n; j += columns) {
            columns = n - j <= most_columns + LANES ? n - j : most_columns;
            const REAL *right = transposed_b ? b + j * ldb + p : b + p * ldb + j;
            PANEL(pack_panels)(right, ldb, transposed_b, in_place, columns, depth, packed_b);
            PANEL(rows_of_products)(transposed_a, m, columns, depth, transposed_a ? a + p * lda : a + p, lda, packed_b,
                                    in_place ? right : NULL, ldb, accumulate, c + j, ldc, scratch);
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
