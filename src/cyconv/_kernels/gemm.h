/* General products of matrices, from blocks of the micro-kernel. Included once for each type, after panel.h and dots.h. */

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

/* packed[p][j] = B[p][j] of `columns` columns, at most `width` (zeros up to that), or of B stored transposed; rows of
   packed are `width` apart. */
static void PANEL(pack_columns)(const REAL *b, ptrdiff_t ldb, int transposed, ptrdiff_t columns, ptrdiff_t k, ptrdiff_t width,
                                REAL *packed)
{
    if (!transposed) {
        for (ptrdiff_t p = 0; p < k; p++, b += ldb, packed += width) {
            memcpy(packed, b, columns * sizeof(REAL));
            memset(packed + columns, 0, (width - columns) * sizeof(REAL));
        }
        return;
    }
    for (ptrdiff_t j = 0; j < width && k >= LANES; j += LANES) /* few rows at once: processors foresee some streams */
        for (ptrdiff_t p = 0; p < k; p += LANES) {
            if (k - p < LANES) p = k - LANES; /* the last ones again */
            PANEL(vector) v[LANES];
            if (columns - j >= LANES) PANEL(load_transposed)(b + j * ldb + p, ldb, v, LANES);
            else PANEL(load_few_transposed)(b + j * ldb + p, ldb, v, columns - j);
            if (width - j >= LANES)
                for (int l = 0; l < LANES; l++) *(PANEL(memory) *)(packed + (p + l) * width + j) = v[l];
            else
                for (int l = 0; l < LANES; l++) memcpy(packed + (p + l) * width + j, &v[l], (width - j) * sizeof(REAL));
        }
    for (ptrdiff_t p = 0; p < k && k < LANES; p++)
        for (ptrdiff_t j = 0; j < width; j++) packed[p * width + j] = j < columns ? b[j * ldb + p] : 0;
}

typedef struct { /* B (k, whole + last + single), as it is read */
    ptrdiff_t k, whole, last, single; /* columns of whole panels, of the last one, and for dot products */
    const REAL *panels, *rest, *dots; /* the whole panels, the last one, the single columns along k */
    ptrdiff_t length, step, rest_length; /* from a panel's row to the next, from panel to panel; of the last one's rows */
    const REAL *unpacked;   /* the whole panels where they lie in B, until the first rows of A have packed them; or NULL */
    ptrdiff_t unpacked_length; /* of B's rows */
    ptrdiff_t repeated; /* how often each element of `dots` stands there: ROWS times, as panels of A lie */
} PANEL(right);

/* How `columns` columns are read: packed, one panel after another, or with `in_place` in B (its rows ldb apart) as far as
   vectors are whole. A few columns too many are computed as dot products, which costs less than a vector of them: a quarter
   of a vector, or (with rows of A that lie in order) half a one where no other columns are left. */
static PANEL(right) PANEL(layout)(const REAL *b, ptrdiff_t ldb, int in_place, int transposed_a, ptrdiff_t columns,
                                  ptrdiff_t k, const REAL *packed)
{
    const ptrdiff_t width = 3 * LANES, over = columns % LANES;
    PANEL(right) r = {.k = k, .panels = packed, .length = width, .step = width * k};
    if (over <= (columns % width == over && !transposed_a ? LANES / 2 : LANES / 4)) r.single = over;
    r.repeated = transposed_a ? ROWS : 1;
    r.whole = (columns - r.single) / width * width;
    r.last = columns - r.single - r.whole;
    if (in_place) r.panels = b, r.length = ldb, r.step = width;
    else packed += r.whole * k;
    r.rest = packed, r.rest_length = (r.last + LANES - 1) / LANES * LANES;
    if (in_place && r.last % LANES == 0) r.rest = b + r.whole, r.rest_length = ldb;
    else if (r.last) packed += width * k;
    r.dots = packed;
    return r;
}

/* Pack what does not lie in B, but for what is left `unpacked`: whole panels row by row, in runs of memory. */
static void PANEL(pack)(const PANEL(right) *r, const REAL *b, ptrdiff_t ldb, int transposed)
{
    const ptrdiff_t width = 3 * LANES, step = transposed ? ldb : 1, k = r->k;
    REAL *packed = (REAL *)r->panels;
    if (r->panels != b && transposed)
        for (ptrdiff_t j = 0; j < r->whole; j += width, packed += r->step)
            PANEL(pack_columns)(b + j * step, ldb, 1, width, k, width, packed);
    else if (r->panels != b && !r->unpacked)
        for (ptrdiff_t p = 0; p < k; p++) {
            REAL *panel = packed + p * width;
            cyconv_prefetch(b + (p + 2) * ldb, r->whole * sizeof(REAL));
            for (const REAL *from = b + p * ldb; from < b + p * ldb + r->whole; from += width, panel += r->step)
                for (int v = 0; v < 3; v++)
                    *(PANEL(memory) *)(panel + v * LANES) = *(const PANEL(memory) *)(from + v * LANES);
        }
    b += r->whole * step;
    if (r->last && r->rest != b) PANEL(pack_columns)(b, ldb, transposed, r->last, k, r->rest_length, (REAL *)r->rest);
    b += r->last * step;
    packed = (REAL *)r->dots;
    for (ptrdiff_t j = 0; j < r->single; j++, b += step)
        for (ptrdiff_t p = 0; p < k; p++)
            for (ptrdiff_t i = 0; i < r->repeated; i++) *packed++ = b[transposed ? p : p * ldb];
}

/* c[i * ldc] := or += the dot products of the `rows` rows of a packed panel and a column, each element ROWS times. */
static void PANEL(panel_dots)(const REAL *panel, const REAL *repeated, ptrdiff_t k, ptrdiff_t rows, int accumulate, REAL *c,
                              ptrdiff_t ldc)
{
    PANEL(vector) sum[4]; /* a whole number of ROWS */
    memset(sum, 0, sizeof sum);
    ptrdiff_t x = 0;
    for (; x + 4 * LANES <= k * ROWS; x += 4 * LANES)
        for (int v = 0; v < 4; v++)
            sum[v] += *(const PANEL(memory) *)(panel + x + v * LANES) * *(const PANEL(memory) *)(repeated + x + v * LANES);
    REAL *sums = (REAL *)sum;
    for (int i = 0; x < k * ROWS; x++, i++) sums[i] += panel[x] * repeated[x];
    for (ptrdiff_t i = 0; i < rows; i++) {
        REAL total = 0;
        for (int j = (int)i; j < 4 * LANES; j += ROWS) total += sums[j];
        c[i * ldc] = accumulate ? c[i * ldc] + total : total;
    }
}

/* `rows` rows of `columns` elements, for the micro-kernel to fetch; then what comes `after`. */
static cyconv_ahead PANEL(rows_ahead)(const REAL *a, ptrdiff_t lda, ptrdiff_t rows, ptrdiff_t columns, cyconv_ahead *after)
{
    return (cyconv_ahead){(const char *)a, columns * (ptrdiff_t)sizeof(REAL), lda * (ptrdiff_t)sizeof(REAL), rows, 0, after, 0};
}

/* GROUP rows of C, or at most ROWS, := A B, or C + A B, panel by panel, but for the single columns.
   sums: 3 * GROUP * LANES elements. */
static void PANEL(group_of_products)(PANEL(left) l, PANEL(right) *r, REAL *c, ptrdiff_t ldc, int rows, int accumulate,
                                     REAL *sums)
{
    const int vectors = (int)((r->last + LANES - 1) / LANES), partial = r->last % LANES != 0, few = rows < ROWS ? rows : ROWS;
    for (int i = 0; i < rows; i += ROWS) {
        PANEL(left) here = PANEL(below)(l, i);
        const REAL *panel = r->panels;
        for (ptrdiff_t j = 0; j < r->whole; j += 3 * LANES, panel += r->step) {
            cyconv_ahead sums_ahead = PANEL(rows_ahead)(c + i * ldc + j, ldc, few, 3 * LANES, l.ahead);
            sums_ahead.write = 1, here.ahead = &sums_ahead;
            if (r->unpacked)
                PANEL(packing_product)(here, r->unpacked + j, r->unpacked_length, r->k, (REAL *)panel, c + j, ldc, few,
                                       accumulate);
            else PANEL(product)(here, panel, r->length, r->k, c + i * ldc + j, ldc, few, accumulate, 3);
        }
        r->unpacked = NULL;
    }
    if (vectors == 0) return;
    c += r->whole;
    REAL *target = partial ? sums : c;
    const ptrdiff_t length = partial ? 3 * LANES : ldc;
    if (partial && accumulate)
        for (int i = 0; i < rows; i++) memcpy(sums + i * length, c + i * ldc, r->last * sizeof(REAL));
    PANEL(rows_product)(l, r->rest, r->rest_length, r->k, target, length, rows, accumulate, vectors);
    if (partial)
        for (int i = 0; i < rows; i++) memcpy(c + i * ldc, sums + i * length, r->last * sizeof(REAL));
}

/* C (m, columns of B) := op(A) B, or C + op(A) B, GROUP rows at once; k at most PANEL_DEPTH. scratch: PANEL_SCRATCH(LANES)
   elements, of which those where gemm packs B stay as they are. */
static void PANEL(rows_of_products)(int transposed_a, ptrdiff_t m, const REAL *a, ptrdiff_t lda, PANEL(right) *r,
                                    int accumulate, REAL *c, ptrdiff_t ldc, cyconv_ahead *ahead, REAL *scratch)
{
    REAL *packed_a = scratch, *sums = packed_a + LEFT_SCRATCH;
    const ptrdiff_t columns = r->whole + r->last, rest_length = (r->last + LANES - 1) / LANES * LANES; /* packed */
    /* tall blocks read more rows than the L1 cache keeps where those are pages apart */
    const int collide = r->last && lda * sizeof(REAL) % 4096 == 0;
    for (ptrdiff_t i = 0, rows; i < m; i += rows, c += rows * ldc) {
        rows = m - i >= GROUP && r->length == 3 * LANES ? GROUP : m - i < ROWS ? m - i : ROWS; /* in place ROWS at once */
        const int direct = !transposed_a && rows >= ROWS && r->length == 3 * LANES && (!r->last || r->rest_length == rest_length);
        const ptrdiff_t next_rows = m - i - rows < GROUP ? m - i - rows : GROUP;
        cyconv_ahead next = PANEL(rows_ahead)(a + (i + rows) * lda, lda, direct ? next_rows : 0, r->k, ahead);
        PANEL(left) l = {packed_a, direct, RUN_STEP, &next};
        if (direct) l.a = a + i * lda, l.length = lda;
        else if (!transposed_a) PANEL(pack_rows)(a + i * lda, lda, (int)rows, r->k, packed_a); /* ROWS or fewer, also in place */
        else {
            if (i % PANEL_RUN == 0) PANEL(pack_runs)(a + i, lda, m - i < PANEL_RUN ? m - i : PANEL_RUN, r->k, packed_a);
            l.a += i % PANEL_RUN / ROWS * RUN_STEP;
        }
        if (direct && rows == GROUP && collide) {
            l.a = packed_a, l.length = r->k + 16;
            for (int q = 0; q < GROUP; q++) memcpy(packed_a + q * l.length, a + (i + q) * lda, r->k * sizeof(REAL));
        }
        PANEL(group_of_products)(l, r, c, ldc, (int)rows, accumulate, sums);
        if (r->single && !transposed_a)
            PANEL(dots)(rows, r->single, r->k, a + i * lda, lda, r->dots, r->k, accumulate, c + columns, ldc);
        for (ptrdiff_t j = 0; j < r->single && transposed_a; j++)
            for (ptrdiff_t q = 0; q < rows; q += ROWS)
                PANEL(panel_dots)(l.a + q / ROWS * RUN_STEP, r->dots + j * r->k * ROWS, r->k, rows - q < ROWS ? rows - q : ROWS,
                                  accumulate, c + q * ldc + columns + j, ldc);
    }
}

/* Columns of B that are packed at once, of n: about GEMM_PANELS panels, at most one more, and a vector less. */
static ptrdiff_t PANEL(block_columns)(ptrdiff_t n)
{
    const ptrdiff_t width = 3 * LANES, most = GEMM_PANELS * width;
    const ptrdiff_t blocks = n > most + LANES ? (n - LANES + most - 1) / most : 1;
    return ((n + blocks - 1) / blocks + width - 1) / width * width;
}

/* The address of A[i][j], where A may be stored transposed. */
static const REAL *PANEL(element)(const REAL *a, ptrdiff_t lda, int transposed, ptrdiff_t i, ptrdiff_t j)
{
    return transposed ? a + j * lda + i : a + i * lda + j;
}

/* C (m, n) := op(A) op(B), or C + op(A) op(B), row-major; op(A) is (m, k), stored (k, m) if transposed_a, op(B) is
   (k, n), stored (n, k) if transposed_b. scratch: PANEL_SCRATCH(LANES) elements.

   About GEMM_PANELS panels of B lie in the L2 cache, packed by the first rows of A, while the others pass by, GROUP at once:
   those stay in the L1 cache, where they lie, for all panels. Meanwhile the next panels of B are fetched. C is written in
   order. Each of its elements is one sum over p in order, or with a few last columns several, added in one order, in steps of
   PANEL_DEPTH (RUN_DEPTH with transposed_a): the same bits however rows are divided. */
static void PANEL(gemm)(int transposed_a, int transposed_b, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const REAL *a,
                        ptrdiff_t lda, const REAL *b, ptrdiff_t ldb, int accumulate, REAL *c, ptrdiff_t ldc,
                        REAL *scratch)
{
    REAL *packed_b = scratch + LEFT_SCRATCH + GROUP * 3 * LANES;
    const ptrdiff_t deepest = transposed_a ? RUN_DEPTH : PANEL_DEPTH, passes = (k + deepest - 1) / deepest;
    const ptrdiff_t most = passes ? (k + passes - 1) / passes : 0;
    const ptrdiff_t wide = PANEL(block_columns)(n);
    /* few rows read B as fast where it lies, if that is near; some more, if it is nearer and a panel leaves room in L1 */
    const ptrdiff_t bytes = k * ldb * (ptrdiff_t)sizeof(REAL);
    const int in_place = !transposed_b && ((m <= 2 * ROWS && bytes <= IN_CACHE) || (m <= 5 * ROWS && k <= 160 && bytes <= NEAR));
    for (ptrdiff_t p = 0, depth; p < k; p += depth, accumulate = 1) {
        depth = k - p < most ? k - p : most;
        for (ptrdiff_t j = 0, columns; j < n; j += columns) {
            columns = n - j < wide ? n - j : wide;
            PANEL(right) r = PANEL(layout)(PANEL(element)(b, ldb, transposed_b, p, j), ldb, in_place, transposed_a, columns, depth,
                                           packed_b);
            if (!in_place && !transposed_b) r.unpacked = b + p * ldb + j, r.unpacked_length = ldb;
            PANEL(pack)(&r, PANEL(element)(b, ldb, transposed_b, p, j), ldb, transposed_b);
            const int last = j + columns == n; /* of this pass */
            const ptrdiff_t q = last ? p + depth : p, next = last ? 0 : j + columns; /* where the next block begins */
            const ptrdiff_t next_depth = k - q < most ? k - q : most, next_columns = n - next < wide ? n - next : wide;
            cyconv_ahead ahead = PANEL(rows_ahead)(PANEL(element)(b, ldb, transposed_b, q, next), ldb,
                                                   in_place ? 0 : transposed_b ? next_columns : next_depth,
                                                   transposed_b ? next_depth : next_columns, NULL);
            PANEL(rows_of_products)(transposed_a, m, PANEL(element)(a, lda, transposed_a, 0, p), lda, &r, accumulate, c + j, ldc,
                                    next_depth > 0 ? &ahead : NULL, scratch);
        }
    }
}

/* The panels of B (k, n) for panels_gemm: n rounded up to whole ones, and LANES / 4 columns. */
static void PANEL(pack_panels)(const REAL *b, ptrdiff_t ldb, ptrdiff_t n, ptrdiff_t k, REAL *panels)
{
    const PANEL(right) r = PANEL(layout)(b, ldb, 0, 0, n, k, panels);
    PANEL(pack)(&r, b, ldb, 0);
}

/* gemm of A (m, k) and the panels of B (k, n), k <= PANEL_DEPTH. */
static void PANEL(panels_gemm)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const REAL *a, ptrdiff_t lda, const REAL *panels,
                               int accumulate, REAL *c, ptrdiff_t ldc, REAL *scratch)
{
    PANEL(right) r = PANEL(layout)(NULL, 0, 0, 0, n, k, panels);
    PANEL(rows_of_products)(0, m, a, lda, &r, accumulate, c, ldc, NULL, scratch);
}
