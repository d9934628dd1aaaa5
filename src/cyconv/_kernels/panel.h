/* The micro-kernel: a block of C := A B (+ C), kept in registers: ROWS x 3 vectors, or as many sums in another shape,
   since fewer would wait for each other.

   Packed, A lies by columns of ROWS elements, in panels, and B by rows of 3 * LANES: both are read once, in order. Where
   that costs more than it saves they are read where they lie. Included once for each type, with REAL, LANES and
   PANEL(name) defined. */

typedef REAL PANEL(vector) VECTOR_OF(LANES);
typedef INT PANEL(ints) VECTOR_OF(LANES);
#if defined(__GNUC__)
typedef REAL PANEL(memory) __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
#else
typedef REAL PANEL(memory);
#endif

/* With `direct` rows of A are a_length apart. Else its panels are, and the block begins in row `first` of one. Meanwhile
   rows that are read next, next_length apart, are fetched, unless `next` is NULL. */
CYCONV_INLINE void PANEL(block)(
    const REAL *a, ptrdiff_t a_length, const REAL *next, ptrdiff_t next_length, const REAL *b, ptrdiff_t width, ptrdiff_t k, REAL *c, ptrdiff_t ldc, int rows,
    int accumulate, const int vectors, const int height, const int direct, const int first)
{
    PANEL(vector) sum[GROUP][3];
#pragma GCC unroll 24
    for (int i = 0; i < height; i++)
        for (int v = 0; v < vectors; v++) sum[i][v] = (PANEL(vector)){0};
    for (ptrdiff_t p = 0; p < k; p++) {
        PANEL(vector) row[3];
        for (int v = 0; v < vectors; v++) row[v] = *(const PANEL(memory) *)(b + v * LANES);
        if (direct && next && p % (ptrdiff_t)(64 / sizeof(REAL)) == 0)
            for (int i = 0; i < height; i++) cyconv_prefetch(next + p + i * next_length, 1);
#pragma GCC unroll 24
        for (int i = 0; i < height; i++) {
            const REAL factor = a[direct ? i * a_length : (first + i) / ROWS * a_length + (first + i) % ROWS];
            for (int v = 0; v < vectors; v++) sum[i][v] += factor * row[v];
        }
        a += direct ? 1 : ROWS;
        b += width;
    }
#pragma GCC unroll 24
    for (int i = 0; i < height; i++) {
        if (i >= rows) break;
        for (int v = 0; v < vectors; v++) {
            PANEL(memory) *target = (PANEL(memory) *)(c + i * ldc + v * LANES);
            if (accumulate) sum[i][v] += *target;
            *target = sum[i][v];
        }
    }
}

/* C (rows, vectors * LANES) := A B, or C + A B; rows <= ROWS, vectors in 1..3. A is packed where a_length is 0. */
static void PANEL(product)(
    const REAL *a, ptrdiff_t a_length, const REAL *next, ptrdiff_t next_length, const REAL *b, ptrdiff_t width, ptrdiff_t k, REAL *c, ptrdiff_t ldc, int rows,
    int accumulate, int vectors)
{
    if (a_length) {
        if (vectors == 3) PANEL(block)(a, a_length, next, next_length, b, width, k, c, ldc, rows, accumulate, 3, ROWS, 1, 0);
        else if (vectors == 2) PANEL(block)(a, a_length, next, next_length, b, width, k, c, ldc, rows, accumulate, 2, ROWS, 1, 0);
        else PANEL(block)(a, a_length, next, next_length, b, width, k, c, ldc, rows, accumulate, 1, ROWS, 1, 0);
    } else {
        if (vectors == 3) PANEL(block)(a, 0, NULL, 0, b, width, k, c, ldc, rows, accumulate, 3, ROWS, 0, 0);
        else if (vectors == 2) PANEL(block)(a, 0, NULL, 0, b, width, k, c, ldc, rows, accumulate, 2, ROWS, 0, 0);
        else PANEL(block)(a, 0, NULL, 0, b, width, k, c, ldc, rows, accumulate, 1, ROWS, 0, 0);
    }
}

/* The same of GROUP rows and one or two vectors, in blocks of more rows. */
static void PANEL(tall_product)(
    const REAL *a, ptrdiff_t a_length, int direct, const REAL *next, ptrdiff_t next_length, const REAL *b, ptrdiff_t width,
    ptrdiff_t k, REAL *c, ptrdiff_t ldc, int accumulate, int vectors)
{
    const int half = GROUP / 2, rest = GROUP - half;
    if (vectors == 1) {
        if (direct) PANEL(block)(a, a_length, next, next_length, b, width, k, c, ldc, GROUP, accumulate, 1, GROUP, 1, 0);
        else PANEL(block)(a, a_length, NULL, 0, b, width, k, c, ldc, GROUP, accumulate, 1, GROUP, 0, 0);
        return;
    }
    if (direct) PANEL(block)(a, a_length, next, next_length, b, width, k, c, ldc, half, accumulate, 2, half, 1, 0);
    else PANEL(block)(a, a_length, NULL, 0, b, width, k, c, ldc, half, accumulate, 2, half, 0, 0);
    a += (direct ? half : half / ROWS) * a_length;
    c += half * ldc;
    if (next) next += half * next_length;
    if (direct) PANEL(block)(a, a_length, next, next_length, b, width, k, c, ldc, rest, accumulate, 2, rest, 1, 0);
    else PANEL(block)(a, a_length, NULL, 0, b, width, k, c, ldc, rest, accumulate, 2, rest, 0, half % ROWS);
}

/* C (panels * ROWS, vectors * LANES) := A B, or C + A B, of packed panels of A, a_length apart, and rows of B 3 * LANES
   apart. */
static void PANEL(panel_rows)(const REAL *a, ptrdiff_t a_length, int panels, const REAL *b, ptrdiff_t k, REAL *c,
                              ptrdiff_t ldc, int accumulate, int vectors)
{
    const ptrdiff_t width = 3 * LANES;
    for (; panels >= 3 && vectors < 3; panels -= 3, a += 3 * a_length, c += GROUP * ldc)
        PANEL(tall_product)(a, a_length, 0, NULL, 0, b, width, k, c, ldc, accumulate, vectors);
    for (; panels > 0; panels--, a += a_length, c += ROWS * ldc)
        PANEL(product)(a, 0, NULL, 0, b, width, k, c, ldc, ROWS, accumulate, vectors);
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

/* Columns of the next panel where `rest` are left and blocks have ROWS rows: 3 * LANES, but no lone vector at the end. */
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
