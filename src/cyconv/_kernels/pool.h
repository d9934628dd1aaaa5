/* Max pooling by rows of outputs: one tap of the window at a time, along a whole row, so that the loops are
   vectors. Included once for each type.

   The first maximum wins and the last NaN (value > best or value != value); index -1 marks a window that has
   met no pixel yet, so a window of only -inf keeps its first pixel. */

#define POOL_TAP(stride)                                                   \
    for (ptrdiff_t x = 0; x < count; x++) {                                \
        const REAL value = pixels[x * (stride)];                           \
        best[x] = value > best[x] || value != value ? value : best[x];     \
    }

#define POOL_TAP_INDEX(stride)                                             \
    for (ptrdiff_t x = 0; x < count; x++) {                                \
        const REAL value = pixels[x * (stride)];                           \
        const int wins = value > best[x] || value != value || index[x] < 0; \
        best[x] = wins ? value : best[x];                                  \
        index[x] = wins ? position + x * (stride) : index[x];              \
    }

/* best[x] = max(best[x], pixels[x * stride]) */
static void PANEL(pool_tap)(const REAL *restrict pixels, ptrdiff_t stride, ptrdiff_t count, REAL *restrict best)
{
    if (stride == 1) POOL_TAP(1)
    else if (stride == 2) POOL_TAP(2)
    else POOL_TAP(stride)
}

/* The same, with the flat position of the maximum; `position` is that of the first pixel. */
static void PANEL(pool_tap_index)(const REAL *restrict pixels, ptrdiff_t stride, ptrdiff_t count,
                                  REAL *restrict best, long long *restrict index, long long position)
{
    if (stride == 1) POOL_TAP_INDEX(1)
    else if (stride == 2) POOL_TAP_INDEX(2)
    else POOL_TAP_INDEX(stride)
}
