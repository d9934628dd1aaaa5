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

/* out[i] = in[i], i < count, in vectors. */
CYCONV_INLINE void PANEL(copy)(REAL *restrict out, const REAL *restrict in, ptrdiff_t count)
{
    const ptrdiff_t half = LANES / 2;
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES) *(PANEL(memory) *)(out + i) = *(const PANEL(memory) *)(in + i);
    if (i == count) return;
    if (count >= LANES) /* the last vector overlaps the one before */
        *(PANEL(memory) *)(out + count - LANES) = *(const PANEL(memory) *)(in + count - LANES);
    else if (half > 1 && count >= half) { /* two halves that overlap */
        memcpy(out, in, half * sizeof(REAL));
        memcpy(out + count - half, in + count - half, half * sizeof(REAL));
    } else
        for (; i < count; i++) out[i] = in[i];
}

typedef struct { /* rows of A, as they are read */
    const REAL *a;
    int direct;            /* where they lie, not packed */
    ptrdiff_t length;      /* from a row to the next, or from panel to panel */
    cyconv_ahead *ahead;   /* what is fetched meanwhile; or NULL */
} PANEL(left);

/* The rows from row i on, the first one of its panel. */
CYCONV_INLINE PANEL(left) PANEL(below)(PANEL(left) l, int i)
{
    l.a += (l.direct ? i : i / ROWS) * l.length;
    return l;
}

/* sum[i] += at[i][p] * B[p], of `height` rows and `vectors` vectors; B[p] is also kept in `packed`, or that is NULL. */
CYCONV_INLINE void PANEL(add_product)(PANEL(vector) sum[][3], const REAL *const *at, ptrdiff_t p, const REAL *b, REAL *packed,
                                      const int vectors, const int height)
{
    PANEL(vector) row[3];
    for (int v = 0; v < vectors; v++) row[v] = *(const PANEL(memory) *)(b + v * LANES);
    if (packed)
        for (int v = 0; v < vectors; v++) *(PANEL(memory) *)(packed + v * LANES) = row[v];
#pragma GCC unroll 24
    for (int i = 0; i < height; i++) {
        const PANEL(vector) factor = at[i][p] - (PANEL(vector)){0}; /* to all lanes; -0 stays */
        for (int v = 0; v < vectors; v++) MULTIPLY_ADD(sum[i][v], factor, row[v]);
    }
}

/* The same for all p < k, of rows of B that are `width` apart; in `packed` they are not. UNROLL at once: on a busy machine 20
   instructions for 12 products (AVX2) were measured 1.2 times as fast as 26; it looks as if another program's thread had half
   of the core. */
CYCONV_INLINE void PANEL(add_products)(PANEL(vector) sum[][3], const REAL *const *at, const ptrdiff_t step, const REAL *b,
                                       const ptrdiff_t width, ptrdiff_t k, REAL *packed, cyconv_ahead *ahead, const int vectors,
                                       const int height)
{
    ptrdiff_t p = 0;
    for (; p + UNROLL <= k; p += UNROLL, b += UNROLL * width) {
        if (ahead && p % FETCH_STEP == 0) cyconv_fetch(ahead, FETCH_LINES);
#pragma GCC unroll 8
        for (int q = 0; q < UNROLL; q++)
            PANEL(add_product)(sum, at, (p + q) * step, b + q * width, packed ? packed + (p + q) * vectors * LANES : NULL,
                               vectors, height);
    }
    for (; p < k; p++, b += width)
        PANEL(add_product)(sum, at, p * step, b, packed ? packed + p * vectors * LANES : NULL, vectors, height);
}

/* `height` rows, of which the first `rows` are kept, by `vectors` vectors. `direct` is A's; packed, the block begins in row
   `first` of its panel. What is read of B is also kept in `packed`, or that is NULL. */
CYCONV_INLINE void PANEL(block)(PANEL(left) l, const REAL *b, const ptrdiff_t width, ptrdiff_t k, REAL *packed, REAL *c,
                                ptrdiff_t ldc, int rows, int accumulate, const int vectors, const int height, const int direct,
                                const int first)
{
    PANEL(vector) sum[GROUP][3];
    const REAL *at[GROUP];
#pragma GCC unroll 24
    for (int i = 0; i < height; i++) {
        for (int v = 0; v < vectors; v++) sum[i][v] = (PANEL(vector)){0};
        at[i] = l.a + (direct ? i * l.length : (first + i) / ROWS * l.length + (first + i) % ROWS);
    }
    if (vectors < 3) cyconv_fetch(l.ahead, FETCH_ONCE); /* once: many rows leave no registers for it */
    PANEL(add_products)(sum, at, direct ? 1 : ROWS, b, width, k, packed, vectors < 3 ? NULL : l.ahead, vectors, height);
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

/* The same of ROWS rows, or of half as many where no more are kept: their sums still wait for nothing, or for little. */
CYCONV_INLINE void PANEL(few_rows)(PANEL(left) l, const REAL *b, const ptrdiff_t width, ptrdiff_t k, REAL *c, ptrdiff_t ldc,
                                   int rows, int accumulate, const int vectors, const int direct)
{
    if (rows > ROWS / 2) PANEL(block)(l, b, width, k, NULL, c, ldc, rows, accumulate, vectors, ROWS, direct, 0);
    else PANEL(block)(l, b, width, k, NULL, c, ldc, rows, accumulate, vectors, ROWS / 2, direct, 0);
}

/* C (rows, vectors * LANES) := A B, or C + A B; rows <= ROWS, vectors in 1..3; rows of B are `width` apart. Only packed
   ones, vectors * LANES wide, may be multiplied by rows of A that are not. */
static void PANEL(product)(PANEL(left) l, const REAL *b, ptrdiff_t width, ptrdiff_t k, REAL *c, ptrdiff_t ldc, int rows,
                           int accumulate, int vectors)
{
    if (l.direct) {
        if (vectors == 3) PANEL(few_rows)(l, b, 3 * LANES, k, c, ldc, rows, accumulate, 3, 1);
        else if (vectors == 2) PANEL(few_rows)(l, b, 2 * LANES, k, c, ldc, rows, accumulate, 2, 1);
        else PANEL(few_rows)(l, b, LANES, k, c, ldc, rows, accumulate, 1, 1);
    } else if (width == vectors * LANES) {
        if (vectors == 3) PANEL(few_rows)(l, b, 3 * LANES, k, c, ldc, rows, accumulate, 3, 0);
        else if (vectors == 2) PANEL(few_rows)(l, b, 2 * LANES, k, c, ldc, rows, accumulate, 2, 0);
        else PANEL(few_rows)(l, b, LANES, k, c, ldc, rows, accumulate, 1, 0);
    } else {
        if (vectors == 3) PANEL(few_rows)(l, b, width, k, c, ldc, rows, accumulate, 3, 0);
        else if (vectors == 2) PANEL(few_rows)(l, b, width, k, c, ldc, rows, accumulate, 2, 0);
        else PANEL(few_rows)(l, b, width, k, c, ldc, rows, accumulate, 1, 0);
    }
}

/* The same of three vectors, which are read in B and packed: the first rows that are multiplied by them need not wait for it. */
static void PANEL(packing_product)(PANEL(left) l, const REAL *b, ptrdiff_t ldb, ptrdiff_t k, REAL *packed, REAL *c, ptrdiff_t ldc,
                                   int rows, int accumulate)
{
    if (l.direct) PANEL(block)(l, b, ldb, k, packed, c, ldc, rows, accumulate, 3, ROWS, 1, 0);
    else PANEL(block)(l, b, ldb, k, packed, c, ldc, rows, accumulate, 3, ROWS, 0, 0);
}

/* The same of GROUP rows and one or two vectors of packed rows, in blocks of more rows. */
static void PANEL(tall_product)(PANEL(left) l, const REAL *b, ptrdiff_t k, REAL *c, ptrdiff_t ldc, int accumulate, int vectors)
{
    const int half = GROUP / 2, rest = GROUP - half;
    const PANEL(left) low = PANEL(below)(l, half);
    if (l.direct) {
        if (vectors == 1) PANEL(block)(l, b, LANES, k, NULL, c, ldc, GROUP, accumulate, 1, GROUP, 1, 0);
        if (vectors == 1) return;
        PANEL(block)(l, b, 2 * LANES, k, NULL, c, ldc, half, accumulate, 2, half, 1, 0);
        PANEL(block)(low, b, 2 * LANES, k, NULL, c + half * ldc, ldc, rest, accumulate, 2, rest, 1, 0);
    } else {
        if (vectors == 1) PANEL(block)(l, b, LANES, k, NULL, c, ldc, GROUP, accumulate, 1, GROUP, 0, 0);
        if (vectors == 1) return;
        PANEL(block)(l, b, 2 * LANES, k, NULL, c, ldc, half, accumulate, 2, half, 0, 0);
        PANEL(block)(low, b, 2 * LANES, k, NULL, c + half * ldc, ldc, rest, accumulate, 2, rest, 0, half % ROWS);
    }
}

/* The same of any rows, in the blocks that suit. Of rows that lie in A whole blocks of ROWS are read. */
static void PANEL(rows_product)(PANEL(left) l, const REAL *b, ptrdiff_t width, ptrdiff_t k, REAL *c, ptrdiff_t ldc, int rows,
                                int accumulate, int vectors)
{
    int i = 0;
    for (; vectors < 3 && rows - i >= GROUP && width == vectors * LANES; i += GROUP)
        PANEL(tall_product)(PANEL(below)(l, i), b, k, c + i * ldc, ldc, accumulate, vectors);
    for (; i < rows; i += ROWS)
        PANEL(product)(PANEL(below)(l, i), b, width, k, c + i * ldc, ldc, rows - i < ROWS ? rows - i : ROWS, accumulate, vectors);
}

/* The same of packed panels of A, a_length apart, or with `direct` of its rows, a_length apart; B is packed. What is `ahead`
   is fetched meanwhile. */
static void PANEL(panel_rows)(const REAL *a, ptrdiff_t a_length, int direct, int rows, const REAL *b, ptrdiff_t k, REAL *c,
                              ptrdiff_t ldc, int accumulate, int vectors, cyconv_ahead *ahead)
{
    const PANEL(left) l = {a, direct, a_length, ahead};
    PANEL(rows_product)(l, b, vectors * LANES, k, c, ldc, rows, accumulate, vectors);
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

/* The same of `rows` rows, at most LANES, and zeros below them. */
static void PANEL(load_few_transposed)(const REAL *in, ptrdiff_t stride, PANEL(vector) *v, ptrdiff_t rows)
{
    for (int i = 0; i < LANES; i++) {
        v[i] = (PANEL(vector)){0};
        if (i < rows) v[i] = *(const PANEL(memory) *)(in + i * stride);
    }
#pragma GCC unroll 4
    for (int half = 1; half < LANES; half *= 2) PANEL(shuffle)(v, LANES);
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

CYCONV_INLINE int PANEL(all_zero)(PANEL(vector) check)
{
    REAL rest = 0;
    for (int l = 0; l < LANES; l++) rest += ((REAL *)&check)[l];
    return rest == 0;
}

/* Whether all are finite: 0 * NaN and 0 * infinity are NaN. */
static int PANEL(all_finite)(const REAL *values, ptrdiff_t count)
{
    PANEL(vector) check[4] = {0};
    ptrdiff_t i = 0;
    for (; i + 4 * LANES <= count; i += 4 * LANES)
        for (int v = 0; v < 4; v++) check[v] += 0 * *(const PANEL(memory) *)(values + i + v * LANES);
    for (; i < count; i++) check[0] += 0 * values[i];
    return PANEL(all_zero)(check[0] + check[1] + check[2] + check[3]);
}
