/* Max pooling by rows of outputs, and the sums of average pooling. Included once for each type, with INT, a signed
   integer as wide as REAL.

   A NaN wins over everything. With indices the first maximum wins and the last NaN, in row-major order.
   Windows of two or three columns that lie in the image are taken LANES at once, in registers (pool_windows). Others
   are taken down their rows, along whole rows of the image, and then along what that leaves (pool_lines); or where
   indices are wanted one tap of the window at a time (pool_taps); windows of whole rows are one run (run_maximum). Maxima
   of rows that are narrower than a vector are made LANES at once as well: what is too much is written where the next rows
   of outputs will be. */

#define POOL_LINE 2048 /* columns of the image that are taken at once */

#define POOL_OUTPUTS 256 /* outputs of pool_taps */

/* The smallest i >= 0 with start + i * step >= 0. */
CYCONV_INLINE ptrdiff_t PANEL(first)(ptrdiff_t start, ptrdiff_t step)
{
    return start >= 0 ? 0 : (-start + step - 1) / step;
}

/* The smallest i in 0..count from which on start + i * step >= size. */
CYCONV_INLINE ptrdiff_t PANEL(past)(ptrdiff_t start, ptrdiff_t step, ptrdiff_t size, ptrdiff_t count)
{
    if (start >= size) return 0;
    const ptrdiff_t past = (size - 1 - start) / step + 1;
    return past < count ? past : count;
}

/* Elements of a where the mask is -1 (all bits), else of b. */
CYCONV_INLINE PANEL(vector) PANEL(choose)(PANEL(ints) mask, PANEL(vector) a, PANEL(vector) b)
{
#if !defined(__GNUC__)
    return mask ? a : b;
#elif defined(FLOAT_BLEND)
    return BLEND(b, a, (PANEL(vector))mask);
#else
    return (PANEL(vector))((mask & (PANEL(ints))a) | (~mask & (PANEL(ints))b));
#endif
}

CYCONV_INLINE PANEL(ints) PANEL(choose_int)(PANEL(ints) mask, PANEL(ints) a, PANEL(ints) b)
{
#if defined(__GNUC__)
    return (PANEL(ints))PANEL(choose)(mask, (PANEL(vector))a, (PANEL(vector))b);
#else
    return mask ? a : b;
#endif
}

/* Pixel j of each of LANES windows of one row, their columns `stride` apart: lanes are out of order at stride 2. Reads
   no pixel after the last window's. */
CYCONV_INLINE PANEL(vector) PANEL(column)(const REAL *pixels, const int stride, const int j)
{
    if (stride == 1) return *(const PANEL(memory) *)(pixels + j);
    if (j > 0) pixels += j - 1;
    const PANEL(vector) a = *(const PANEL(memory) *)pixels, b = *(const PANEL(memory) *)(pixels + LANES);
    return j == 0 ? EVEN(a, b) : ODD(a, b);
}

/* best[x] = max over i < rows, j < kernel_w of pixels[i * row_step + x * stride + j], x < count, count >= LANES; with
   `sum` their sum. With `indexed` index[x] = position + i * row_step + x * stride + j of the maximum. */
CYCONV_INLINE void PANEL(pool_windows)(const REAL *pixels, ptrdiff_t row_step, ptrdiff_t rows, const int stride,
                                       const int kernel_w, const int sum, const int indexed, ptrdiff_t count,
                                       long long position, REAL *best, long long *index)
{
    for (ptrdiff_t x = 0; x < count; x += LANES) {
        if (x > count - LANES) x = count - LANES; /* the last vector overlaps the one before */
        const REAL *row = pixels + x * stride;
        PANEL(vector) most = sum ? (PANEL(vector)){0} : PANEL(column)(row, stride, 0);
        PANEL(ints) at = {0};
        for (ptrdiff_t i = 0; i < rows; i++, row += row_step)
#pragma GCC unroll 3
            for (int j = 0; j < kernel_w; j++) {
                const PANEL(vector) value = PANEL(column)(row, stride, j);
                if (sum) {
                    most += value;
                    continue;
                }
                const PANEL(ints) wins = (PANEL(ints))(value > most) | (PANEL(ints))(value != value);
                most = PANEL(choose)(wins, value, most);
                if (indexed) at = PANEL(choose_int)(wins, (PANEL(ints)){0} + (INT)(i * row_step + j), at);
            }
        *(PANEL(memory) *)(best + x) = stride == 2 ? IN_ORDER(most) : most;
        if (!indexed) continue;
        INT place[LANES]; /* of the maximum, from the first pixel of its window */
        at = stride == 2 ? IN_ORDER(at) : at;
        memcpy(place, &at, sizeof at);
        for (int l = 0; l < LANES; l++) index[x + l] = position + x * stride + l * stride + place[l];
    }
}

/* Whether `pool_windows` is compiled for these windows. */
CYCONV_INLINE int PANEL(pool_applies)(ptrdiff_t stride, ptrdiff_t kernel_w, ptrdiff_t step)
{
    return (stride == 1 || stride == 2) && (kernel_w == 2 || kernel_w == 3) && step == 1;
}

#define POOL_CASES(sum, indexed, pixels, count, position, best, index)                                 \
    if (stride == 1 && kernel_w == 2)                                                                  \
        PANEL(pool_windows)(pixels, row_step, rows, 1, 2, sum, indexed, count, position, best, index); \
    else if (stride == 1)                                                                              \
        PANEL(pool_windows)(pixels, row_step, rows, 1, 3, sum, indexed, count, position, best, index); \
    else if (kernel_w == 2)                                                                            \
        PANEL(pool_windows)(pixels, row_step, rows, 2, 2, sum, indexed, count, position, best, index); \
    else                                                                                               \
        PANEL(pool_windows)(pixels, row_step, rows, 2, 3, sum, indexed, count, position, best, index)

/* Maxima of `pool_windows`, with their indices unless `index` is NULL. */
static void PANEL(pool_maxima)(const REAL *pixels, ptrdiff_t row_step, ptrdiff_t rows, ptrdiff_t stride,
                               ptrdiff_t kernel_w, ptrdiff_t count, long long position, REAL *best, long long *index)
{
    if (index == NULL) {
        POOL_CASES(0, 0, pixels, count, 0, best, NULL);
    } else {
        POOL_CASES(0, 1, pixels, count, position, best, index);
    }
}

/* `pool_maxima` of count < LANES windows, of which LANES - count windows to the left can be read as well. */
static void PANEL(pool_last)(const REAL *pixels, ptrdiff_t row_step, ptrdiff_t rows, ptrdiff_t stride,
                             ptrdiff_t kernel_w, ptrdiff_t count, long long position, REAL *best, long long *index)
{
    const ptrdiff_t over = LANES - count;
    REAL values[LANES];
    long long places[LANES];
    PANEL(pool_maxima)(pixels - over * stride, row_step, rows, stride, kernel_w, LANES, position - over * stride, values,
                       index == NULL ? NULL : places);
    for (ptrdiff_t x = 0; x < count; x++) best[x] = values[over + x];
    if (index == NULL) return;
    for (ptrdiff_t x = 0; x < count; x++) index[x] = places[over + x];
}

CYCONV_INLINE REAL PANEL(larger)(REAL best, REAL value)
{
    const REAL larger = value > best ? value : best; /* best, where either is NaN */
    return value != value ? value : larger;
}

#define POOL_MERGE(a, b) (sum ? (a) + (b) : PANEL(larger)(a, b))

/* best[x] = max (or with `sum` the sum) over i < rows, j < kernel_w of row[i * row_step + start + x * stride + j * step],
   x < count, where the column lies in 0..W; rows may be 0; (kernel_w - 1) * step < POOL_LINE. */
CYCONV_INLINE void PANEL(pool_lines)(const REAL *row, ptrdiff_t row_step, ptrdiff_t rows, ptrdiff_t W, ptrdiff_t start,
                                     ptrdiff_t stride, ptrdiff_t kernel_w, ptrdiff_t step, const int sum,
                                     ptrdiff_t count, REAL *restrict best)
{
    REAL line[POOL_LINE + 2 * LANES];
    const ptrdiff_t reach = (kernel_w - 1) * step, most = (POOL_LINE - reach - 1) / stride + 1;
    for (ptrdiff_t x0 = 0; x0 < count; x0 += most, best += most) {
        const ptrdiff_t outputs = count - x0 < most ? count - x0 : most;
        const ptrdiff_t from = start + x0 * stride, length = (outputs - 1) * stride + reach + 1;
        const ptrdiff_t first = from < 0 ? (-from < length ? -from : length) : 0;
        const ptrdiff_t inside = rows > 0 ? (W - from < length ? W - from : length) : 0;
        const ptrdiff_t past = inside > first ? inside : first;
        for (ptrdiff_t t = 0; t < first; t++) line[t] = sum ? 0 : -INFINITY;
        for (ptrdiff_t t = past; t < length; t++) line[t] = sum ? 0 : -INFINITY;
        if (past > first) {
            const REAL *pixels = row + from;
            if (rows == 1) memcpy(line + first, pixels + first, (past - first) * sizeof(REAL));
            else if (rows == 2)
                for (ptrdiff_t t = first; t < past; t++) line[t] = POOL_MERGE(pixels[t], pixels[row_step + t]);
            else
                for (ptrdiff_t t = first; t < past; t++)
                    line[t] = POOL_MERGE(POOL_MERGE(pixels[t], pixels[row_step + t]), pixels[2 * row_step + t]);
            for (ptrdiff_t i = 3; i < rows; i++)
                for (ptrdiff_t t = first; t < past; t++) line[t] = POOL_MERGE(line[t], pixels[i * row_step + t]);
        }
        if (stride == 2 && step == 1 && kernel_w == 2)
            for (ptrdiff_t x = 0; x < outputs; x++) best[x] = POOL_MERGE(line[2 * x], line[2 * x + 1]);
        else if (stride == 2 && step == 1 && kernel_w == 3)
            for (ptrdiff_t x = 0; x < outputs; x++)
                best[x] = POOL_MERGE(POOL_MERGE(line[2 * x], line[2 * x + 1]), line[2 * x + 2]);
        else {
            for (ptrdiff_t x = 0; x < outputs; x++) best[x] = line[x * stride];
            for (ptrdiff_t j = 1; j < kernel_w; j++) {
                const REAL *tap = line + j * step;
                if (stride == 1)
                    for (ptrdiff_t x = 0; x < outputs; x++) best[x] = POOL_MERGE(best[x], tap[x]);
                else
                    for (ptrdiff_t x = 0; x < outputs; x++) best[x] = POOL_MERGE(best[x], tap[x * stride]);
            }
        }
    }
}

#define POOL_TAP(stride)                                                        \
    for (ptrdiff_t x = 0; x < count; x++) {                                     \
        const REAL value = pixels[x * (stride)];                                \
        const int wins = (value > best[x]) | (value != value) | (place[x] < 0); \
        best[x] = wins ? value : best[x];                                       \
        place[x] = wins ? new_place : place[x];                                 \
    }

/* best[x] = max(best[x], pixels[x * stride]), and place[x] = new_place where that wins, or where place[x] is -1. */
static void PANEL(pool_tap)(const REAL *restrict pixels, ptrdiff_t stride, ptrdiff_t count, REAL *restrict best,
                            INT *restrict place, INT new_place)
{
    if (stride == 1) POOL_TAP(1)
    else if (stride == 2) POOL_TAP(2)
    else POOL_TAP(stride)
}

/* The maxima of any windows, as `pool_lines` has them, with their indices unless `index` is NULL. */
static void PANEL(pool_taps)(const REAL *row, ptrdiff_t row_step, ptrdiff_t rows, ptrdiff_t W, ptrdiff_t start,
                             ptrdiff_t stride, ptrdiff_t kernel_w, ptrdiff_t step, ptrdiff_t count, long long position,
                             REAL *best, long long *index)
{
    INT place[POOL_OUTPUTS]; /* of the maxima, from the first pixel of their windows; -1: no pixel yet */
    for (ptrdiff_t x0 = 0; x0 < count; x0 += POOL_OUTPUTS, best += POOL_OUTPUTS) {
        const ptrdiff_t outputs = count - x0 < POOL_OUTPUTS ? count - x0 : POOL_OUTPUTS;
        const ptrdiff_t from = start + x0 * stride;
        const ptrdiff_t past_j = PANEL(past)(from, step, W, kernel_w); /* taps in the image, of some window */
        for (ptrdiff_t x = 0; x < outputs; x++) best[x] = -INFINITY;
        memset(place, 255, sizeof place); /* -1 */
        for (ptrdiff_t i = 0; i < rows; i++)
            for (ptrdiff_t j = PANEL(first)(from + (outputs - 1) * stride, step); j < past_j; j++) {
                const ptrdiff_t column = from + j * step, first = PANEL(first)(column, stride);
                const ptrdiff_t past = PANEL(past)(column, stride, W, outputs);
                if (first < past)
                    PANEL(pool_tap)(row + i * row_step + column + first * stride, stride, past - first, best + first,
                                    place + first, (INT)(i * row_step + j * step));
            }
        if (index == NULL) continue;
        for (ptrdiff_t x = 0; x < outputs; x++) /* -1 stays so for a dilated window with no pixel of the image */
            index[x0 + x] = place[x] < 0 ? -1 : position + from + x * stride + place[x];
    }
}

/* The maximum of a run of at least LANES pixels, and its place, of which an INT holds each: of several the first, of NaNs the
   last. A lane has its own, of every LANES-th pixel. */
static void PANEL(run_maximum)(const REAL *run, ptrdiff_t count, REAL *best, ptrdiff_t *place)
{
    PANEL(vector) most = *(const PANEL(memory) *)run;
    PANEL(ints) at, now;
    REAL values[LANES];
    ptrdiff_t i = LANES;
    int nan = 0;
    for (int l = 0; l < LANES; l++) ((INT *)&at)[l] = l;
    now = at;
    for (; i + LANES <= count; i += LANES) {
        const PANEL(vector) value = *(const PANEL(memory) *)(run + i);
        const PANEL(ints) wins = (PANEL(ints))(value > most) | (PANEL(ints))(value != value);
        now += LANES;
        most = PANEL(choose)(wins, value, most);
        at = PANEL(choose_int)(wins, now, at);
    }
    for (int l = 0; l < LANES; l++) nan |= ((REAL *)&most)[l] != ((REAL *)&most)[l];
    memcpy(values, &most, sizeof values);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) values[l] = values[l] > values[l + half] ? values[l] : values[l + half];
    *place = nan ? -1 : count;
    for (int l = 0; l < LANES; l++) {
        const REAL value = ((REAL *)&most)[l];
        const ptrdiff_t mine = ((INT *)&at)[l];
        if (nan ? value != value && mine > *place : value == values[0] && mine < *place) *place = mine;
    }
    *best = run[*place];
    for (; i < count; i++)
        if (run[i] > *best || run[i] != run[i]) *best = run[i], *place = i;
}

/* The maximum of one window of rows x columns pixels, all in the image, and its index unless `index` is NULL. */
static void PANEL(pool_window)(const REAL *pixels, ptrdiff_t row_step, ptrdiff_t rows, ptrdiff_t step,
                               ptrdiff_t columns, long long position, REAL *best, long long *index)
{
    REAL most = -INFINITY;
    ptrdiff_t place = -1;
    if (step == 1 && columns == row_step && rows * columns >= 2 * LANES && rows * columns <= (ptrdiff_t)((BITS)-1 >> 1)) {
        PANEL(run_maximum)(pixels, rows * columns, &most, &place); /* whole rows follow each other */
    } else
        for (ptrdiff_t i = 0; i < rows; i++)
            for (ptrdiff_t j = 0; j < columns; j++) {
                const REAL value = pixels[i * row_step + j * step];
                const int wins = (value > most) | (value != value) | (place < 0); /* not to be predicted: no branch */
                most = PANEL(larger)(most, value);
                place += wins * (i * row_step + j * step - place);
            }
    *best = most;
    if (index != NULL) *index = place < 0 ? -1 : position + place;
}

/* The windows first <= x < past of a row: `rows` of their rows, from `row` on, lie in the image. */
static void PANEL(pool_each)(const REAL *row, ptrdiff_t row_step, ptrdiff_t rows, ptrdiff_t W, ptrdiff_t start,
                             ptrdiff_t stride, ptrdiff_t kernel_w, ptrdiff_t step, ptrdiff_t first, ptrdiff_t past,
                             long long position, REAL *best, long long *index)
{
    for (ptrdiff_t x = first; x < past; x++) {
        const ptrdiff_t column = start + x * stride, j = PANEL(first)(column, step);
        const ptrdiff_t columns = PANEL(past)(column, step, W, kernel_w) - j, from = column + j * step;
        PANEL(pool_window)(row + from, row_step, rows, step, columns, position + from, best + x,
                           index == NULL ? NULL : index + x);
    }
}

/* best[y, x] = max over i < kernel_h, j < kernel_w of plane[y * stride_h - pad_top + i * step_h, x * stride - pad_left +
   j * step], where that lies in the plane of H x W, and index[y, x] (unless it is NULL) its place. */
static void PANEL(max_plane)(const REAL *plane, ptrdiff_t H, ptrdiff_t W, ptrdiff_t kernel_h, ptrdiff_t kernel_w,
                             ptrdiff_t stride_h, ptrdiff_t stride, ptrdiff_t pad_top, ptrdiff_t pad_left,
                             ptrdiff_t step_h, ptrdiff_t step, ptrdiff_t H_out, ptrdiff_t W_out, REAL *best,
                             long long *index)
{
    const ptrdiff_t start = -pad_left, reach = (kernel_w - 1) * step, row_step = step_h * W;
    const ptrdiff_t first = PANEL(first)(start, stride), past = PANEL(past)(start + reach, stride, W, W_out); /* inside */
    const ptrdiff_t column = start + first * stride, inside = past - first;
    const ptrdiff_t over = inside < LANES ? LANES - inside : 0; /* of a vector, which are no windows of this row */
    /* few maxima alone, at the border too, are made faster along lines */
    const int lines = index == NULL && reach < POOL_LINE && over > 0 && inside < W_out;
    const int whole = W_out == 1 && row_step == W && start <= 0 && start + kernel_w >= W && step == 1; /* windows are whole rows */
    const int applies = inside > 0 && !lines && !whole && PANEL(pool_applies)(stride, kernel_w, step);
    for (ptrdiff_t y = 0; y < H_out; y++, best += W_out, index = index == NULL ? NULL : index + W_out) {
        ptrdiff_t top = y * stride_h - pad_top, rows = kernel_h; /* the first row of the image, and how many there are */
        if (top < 0 || top + (kernel_h - 1) * step_h >= H) {
            const ptrdiff_t i = PANEL(first)(top, step_h), past_i = PANEL(past)(top, step_h, H, kernel_h);
            rows = past_i > i ? past_i - i : 0;
            top += i * step_h;
        }
        const ptrdiff_t position = top * W, from = position + column; /* in the plane: of row[0], of the first inside */
        const REAL *row = plane + position;
        const int counts = rows * row_step <= (ptrdiff_t)((BITS)-1 >> 1) - W; /* an INT holds a place in a window */
        const int vectors = applies && counts && rows > 0;
        if (vectors && (over == 0 || (y * W_out + past + over <= H_out * W_out &&
                                      from + (rows - 1) * row_step + (LANES - 1) * stride + kernel_w <= H * W)))
            PANEL(pool_maxima)(plane + from, row_step, rows, stride, kernel_w, inside + over, from, best + first,
                               index == NULL ? NULL : index + first);
        else if (vectors && from >= over * stride)
            PANEL(pool_last)(plane + from, row_step, rows, stride, kernel_w, inside, from, best + first,
                             index == NULL ? NULL : index + first);
        else {
            if (index == NULL && reach < POOL_LINE && !whole)
                PANEL(pool_lines)(row, row_step, rows, W, start, stride, kernel_w, step, 0, W_out, best);
            else if (counts && W_out >= LANES)
                PANEL(pool_taps)(row, row_step, rows, W, start, stride, kernel_w, step, W_out, position, best, index);
            else
                PANEL(pool_each)(row, row_step, rows, W, start, stride, kernel_w, step, 0, W_out, position, best, index);
            continue;
        }
        if (first > 0)
            PANEL(pool_each)(row, row_step, rows, W, start, stride, kernel_w, step, 0, first, position, best, index);
        if (past < W_out)
            PANEL(pool_each)(row, row_step, rows, W, start, stride, kernel_w, step, past, W_out, position, best, index);
        /* the rows that the window after the next will be the first to read */
        cyconv_prefetch((const char *)(row + rows * row_step) + 1024, stride_h * W * sizeof(REAL));
    }
}
