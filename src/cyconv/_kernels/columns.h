/* The columns of im2col as panels, straight from lines of pixels (columns.pyx): they are never stored as a matrix. Included
   once for each type, after gemm.h. */

/* The columns (taps, n) of some positions: pixel p of tap t is line[distance[t] + place of p]. */
static ptrdiff_t PANEL(place)(const cyconv_columns *b, ptrdiff_t p)
{
    return p / b->L * b->image + p % b->L / b->W * b->width + p % b->W;
}

/* packed[t * width + i] = pixel p + i of tap t, i < count. What is behind a run of a row the next one overwrites: up to a
   vector behind the last tap is changed. */
static void PANEL(pack_lines)(const REAL *line, const cyconv_columns *b, ptrdiff_t p, ptrdiff_t count, ptrdiff_t k,
                              ptrdiff_t width, REAL *packed)
{
    struct { ptrdiff_t from, to, past; } runs[3 * LANES];
    int n = 0;
    for (ptrdiff_t i = 0, length; i < count; i += length, n++) {
        length = b->W - (p + i) % b->W;
        if (length > count - i) length = count - i;
        runs[n].from = PANEL(place)(b, p + i) - i, runs[n].to = i, runs[n].past = i + length;
    }
    for (ptrdiff_t t = 0; t < k; t++, packed += width)
        for (int r = 0; r < n; r++) {
            const REAL *from = line + b->distance[t] + runs[r].from;
            if (b->exact) PANEL(copy)(packed + runs[r].to, from + runs[r].to, runs[r].past - runs[r].to);
            else
                for (ptrdiff_t i = runs[r].to; i < runs[r].past; i += LANES)
                    *(PANEL(memory) *)(packed + i) = *(const PANEL(memory) *)(from + i);
        }
}

/* What PANEL(pack) is to a matrix, from position p on. */
static void PANEL(pack_positions)(const PANEL(right) *r, const REAL *line, const cyconv_columns *b, ptrdiff_t p)
{
    REAL *packed = (REAL *)r->panels;
    for (ptrdiff_t j = 0; j < r->whole; j += 3 * LANES, packed += r->step)
        PANEL(pack_lines)(line, b, p + j, 3 * LANES, r->k, 3 * LANES, packed);
    p += r->whole;
    if (r->last) PANEL(pack_lines)(line, b, p, r->last, r->k, r->rest_length, (REAL *)r->rest);
    p += r->last;
    packed = (REAL *)r->dots;
    for (ptrdiff_t j = 0; j < r->single; j++)
        for (ptrdiff_t t = 0; t < r->k; t++) *packed++ = line[b->distance[t] + PANEL(place)(b, p + j)];
}

/* pack_panels of n columns. */
static void PANEL(pack_columns_of)(const REAL *line, const cyconv_columns *b, ptrdiff_t n, ptrdiff_t k, REAL *panels)
{
    const PANEL(right) r = PANEL(layout)(NULL, 0, 0, 0, n, k, panels);
    PANEL(pack_positions)(&r, line, b, 0);
}

/* gemm of A (m, k) and the columns of n positions, k <= PANEL_DEPTH. */
static void PANEL(columns_gemm)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const REAL *a, ptrdiff_t lda, const REAL *line,
                                const cyconv_columns *b, int accumulate, REAL *c, ptrdiff_t ldc, REAL *scratch)
{
    const ptrdiff_t wide = PANEL(block_columns)(n);
    for (ptrdiff_t j = 0, columns; j < n; j += columns) {
        columns = n - j < wide ? n - j : wide;
        PANEL(right) r = PANEL(layout)(NULL, 0, 0, 0, columns, k, scratch + LEFT_SCRATCH + GROUP * 3 * LANES);
        PANEL(pack_positions)(&r, line, b, j);
        PANEL(rows_of_products)(0, m, a, lda, &r, accumulate, c + j, ldc, NULL, scratch);
    }
}
