# The vector templates of vectors.h behind fused names.

from cython cimport floating

from cyconv._kernels.blas cimport blas_gemm

cdef extern from "vectors.h":
    const int ROWS, GROUP
    const int FLOAT_LANES, DOUBLE_LANES
    const int CYCONV_PANELS
    const int PANEL_DEPTH, PANEL_VECTORS, GEMM_PANELS, LINE_PANELS, TILE_ROWS, WINOGRAD_CHANNELS, WINOGRAD_GROUP_BYTES
    ctypedef struct cyconv_ahead:
        const char* at
        Py_ssize_t bytes, step, runs
        int write
        cyconv_ahead* after
        Py_ssize_t done
    Py_ssize_t PANEL_SCRATCH(Py_ssize_t lanes) nogil
    Py_ssize_t ROWS_SCRATCH(Py_ssize_t lanes) nogil
    void cyconv_float_panel_rows(const float*, Py_ssize_t, int, int, const float*, Py_ssize_t, float*, Py_ssize_t, int, int, cyconv_ahead*) noexcept nogil
    void cyconv_double_panel_rows(const double*, Py_ssize_t, int, int, const double*, Py_ssize_t, double*, Py_ssize_t, int, int, cyconv_ahead*) noexcept nogil
    void cyconv_float_gemm(int, int, Py_ssize_t, Py_ssize_t, Py_ssize_t, const float*, Py_ssize_t, const float*,
                           Py_ssize_t, int, float*, Py_ssize_t, float*) noexcept nogil
    void cyconv_double_gemm(int, int, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double*, Py_ssize_t, const double*,
                            Py_ssize_t, int, double*, Py_ssize_t, double*) noexcept nogil
    void cyconv_double_pack_panels(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, double*) noexcept nogil
    void cyconv_double_panels_gemm(Py_ssize_t, Py_ssize_t, Py_ssize_t, const double*, Py_ssize_t, const double*, int, double*,
                                Py_ssize_t, double*) noexcept nogil
    void cyconv_float_pack_panels(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_float_panels_gemm(Py_ssize_t, Py_ssize_t, Py_ssize_t, const float*, Py_ssize_t, const float*, int, float*,
                                Py_ssize_t, float*) noexcept nogil
    void cyconv_float_dots(Py_ssize_t, Py_ssize_t, Py_ssize_t, const float*, Py_ssize_t, const float*, Py_ssize_t,
                           int, float*, Py_ssize_t) noexcept nogil
    void cyconv_double_dots(Py_ssize_t, Py_ssize_t, Py_ssize_t, const double*, Py_ssize_t, const double*, Py_ssize_t,
                            int, double*, Py_ssize_t) noexcept nogil
    ctypedef struct cyconv_kernel:
        int height, width, stride_h, stride_w, r, high, wide
    ctypedef struct cyconv_tile:
        Py_ssize_t pixel, output, y, x, run
    ctypedef struct cyconv_made:
        Py_ssize_t H, W, stride_h, stride_w, top, left
    void cyconv_float_pack_columns(const float*, Py_ssize_t, int, Py_ssize_t, Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_double_pack_columns(const double*, Py_ssize_t, int, Py_ssize_t, Py_ssize_t, Py_ssize_t, double*) noexcept nogil
    ctypedef struct cyconv_columns:
        const Py_ssize_t* distance
        Py_ssize_t W, L, width, image
        int exact
    void cyconv_float_pack_columns_of(const float*, const cyconv_columns*, Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_double_pack_columns_of(const double*, const cyconv_columns*, Py_ssize_t, Py_ssize_t, double*) noexcept nogil
    void cyconv_float_columns_gemm(Py_ssize_t, Py_ssize_t, Py_ssize_t, const float*, Py_ssize_t, const float*, const cyconv_columns*,
                                   int, float*, Py_ssize_t, float*) noexcept nogil
    void cyconv_double_columns_gemm(Py_ssize_t, Py_ssize_t, Py_ssize_t, const double*, Py_ssize_t, const double*,
                                    const cyconv_columns*, int, double*, Py_ssize_t, double*) noexcept nogil
    ctypedef struct cyconv_filter:
        Py_ssize_t H, W, top, left, kernel_h, kernel_w, stride, W_out, lines, reach, edges
    int cyconv_float_all_finite(const float*, Py_ssize_t) noexcept nogil
    int cyconv_double_all_finite(const double*, Py_ssize_t) noexcept nogil
    void cyconv_float_lay_channels(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                   Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_float_interleave(const float*, Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_float_tile_values(const float*, Py_ssize_t, Py_ssize_t, const cyconv_tile*, Py_ssize_t, const cyconv_kernel*, int, float*,
                                  Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
    void cyconv_double_lay_channels(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                   Py_ssize_t, Py_ssize_t, double*) noexcept nogil
    void cyconv_double_interleave(const double*, Py_ssize_t, Py_ssize_t, double*) noexcept nogil
    void cyconv_double_tile_values(const double*, Py_ssize_t, Py_ssize_t, const cyconv_tile*, Py_ssize_t, const cyconv_kernel*, int, double*,
                                  Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
    int cyconv_float_tap_sums(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, const cyconv_kernel*,
                             float*) noexcept nogil
    int cyconv_double_tap_sums(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, const cyconv_kernel*,
                             double*) noexcept nogil
    void cyconv_float_weight_panel(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, const cyconv_kernel*,
                                   int, int, int, float*, Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_double_weight_panel(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, const cyconv_kernel*,
                                   int, int, int, double*, Py_ssize_t, Py_ssize_t, double*) noexcept nogil
    int cyconv_float_output_tiles(const float*, Py_ssize_t, Py_ssize_t, const cyconv_tile*, Py_ssize_t, const cyconv_kernel*,
                                  const float*, Py_ssize_t, int, const cyconv_made*, float*, Py_ssize_t) noexcept nogil
    int cyconv_double_output_tiles(const double*, Py_ssize_t, Py_ssize_t, const cyconv_tile*, Py_ssize_t, const cyconv_kernel*,
                                  const double*, Py_ssize_t, int, const cyconv_made*, double*, Py_ssize_t) noexcept nogil
    void cyconv_float_lay_rows(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                              Py_ssize_t, Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_float_filter_plane(const cyconv_filter*, const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, const float*,
                                 float, int, const float*, void*, float*) noexcept nogil
    void cyconv_float_copy_rows(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_float_taps(const float*, const Py_ssize_t*, const float*, Py_ssize_t, float, float*, Py_ssize_t) noexcept nogil
    void cyconv_float_taps_gradient(const float*, const Py_ssize_t*, Py_ssize_t, const float*, Py_ssize_t, float*) noexcept nogil
    void cyconv_float_interleave_row(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, int, float*) noexcept nogil
    void cyconv_double_lay_rows(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                              Py_ssize_t, Py_ssize_t, Py_ssize_t, double*) noexcept nogil
    void cyconv_double_filter_plane(const cyconv_filter*, const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double*,
                                  double, int, const double*, void*, double*) noexcept nogil
    void cyconv_double_copy_rows(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, double*) noexcept nogil
    void cyconv_double_taps(const double*, const Py_ssize_t*, const double*, Py_ssize_t, double, double*, Py_ssize_t) noexcept nogil
    void cyconv_double_taps_gradient(const double*, const Py_ssize_t*, Py_ssize_t, const double*, Py_ssize_t, double*) noexcept nogil
    void cyconv_double_interleave_row(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, int, double*) noexcept nogil
    void cyconv_float_line_dots(const float*, Py_ssize_t, Py_ssize_t, const float*, const Py_ssize_t*, Py_ssize_t, Py_ssize_t,
                                float*) noexcept nogil
    void cyconv_float_close_dots(const float*, Py_ssize_t, Py_ssize_t, float*, Py_ssize_t) noexcept nogil
    void cyconv_double_line_dots(const double*, Py_ssize_t, Py_ssize_t, const double*, const Py_ssize_t*, Py_ssize_t, Py_ssize_t,
                                 double*) noexcept nogil
    void cyconv_double_close_dots(const double*, Py_ssize_t, Py_ssize_t, double*, Py_ssize_t) noexcept nogil
    void cyconv_float_pack_filters(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_double_pack_filters(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, double*) noexcept nogil
    void cyconv_float_pack_taps(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, const Py_ssize_t*, Py_ssize_t,
                                float*) noexcept nogil
    void cyconv_double_pack_taps(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, const Py_ssize_t*, Py_ssize_t,
                                 double*) noexcept nogil
    void cyconv_float_line_product(const float*, const float*, const Py_ssize_t*, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                   int, const float*, int, int, int, float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                   Py_ssize_t, Py_ssize_t, float*, float*) noexcept nogil
    void cyconv_double_line_product(const double*, const double*, const Py_ssize_t*, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                    int, const double*, int, int, int, double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                    Py_ssize_t, Py_ssize_t, double*, double*) noexcept nogil
    void cyconv_float_pixel_products(const float*, const Py_ssize_t*, Py_ssize_t, const Py_ssize_t*, Py_ssize_t, const float*,
                                     const Py_ssize_t*, int, int, float*, const Py_ssize_t*, cyconv_ahead*) noexcept nogil
    void cyconv_float_store_pixels(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, const float*, int, int, float*, Py_ssize_t) noexcept nogil
    void cyconv_float_store_phases(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, int, float*,
                                 Py_ssize_t) noexcept nogil
    void cyconv_float_lay_padded(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_float_pack_transposed_taps(const float*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, const Py_ssize_t*,
                                           const Py_ssize_t*, Py_ssize_t, Py_ssize_t, float*) noexcept nogil
    void cyconv_double_pixel_products(const double*, const Py_ssize_t*, Py_ssize_t, const Py_ssize_t*, Py_ssize_t, const double*,
                                     const Py_ssize_t*, int, int, double*, const Py_ssize_t*, cyconv_ahead*) noexcept nogil
    void cyconv_double_store_pixels(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double*, int, int, double*, Py_ssize_t) noexcept nogil
    void cyconv_double_store_phases(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, int, double*,
                                 Py_ssize_t) noexcept nogil
    void cyconv_double_lay_padded(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, double*) noexcept nogil
    void cyconv_double_pack_transposed_taps(const double*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, const Py_ssize_t*,
                                           const Py_ssize_t*, Py_ssize_t, Py_ssize_t, double*) noexcept nogil


cdef inline void panel_rows(const floating* a, Py_ssize_t a_length, bint direct, int rows, const floating* b, Py_ssize_t k,
                            floating* c, Py_ssize_t ldc, bint accumulate, int vectors, cyconv_ahead* ahead) noexcept nogil:
    # C (rows, vectors*LANES) := A B, or C + A B. A: packed panels, a_length apart; or `direct` its rows, a_length apart, of
    # which whole blocks of ROWS are read. Rows of B are vectors*LANES wide.
    if floating is float:
        cyconv_float_panel_rows(a, a_length, direct, rows, b, k, c, ldc, accumulate, vectors, ahead)
    else:
        cyconv_double_panel_rows(a, a_length, direct, rows, b, k, c, ldc, accumulate, vectors, ahead)


cdef inline void gemm(bint transposed_a, bint transposed_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                      const floating* a, Py_ssize_t lda, const floating* b, Py_ssize_t ldb, bint accumulate,
                      floating* c, Py_ssize_t ldc, floating* scratch) noexcept nogil:
    # C := op(A) op(B), or C + op(A) op(B), row-major: op(A) is (m, k), op(B) is (k, n).
    if not CYCONV_PANELS:
        blas_gemm(transposed_a, transposed_b, m, n, k, a, lda, b, ldb, <floating>accumulate, c, ldc)
    elif floating is float:
        cyconv_float_gemm(transposed_a, transposed_b, m, n, k, a, lda, b, ldb, accumulate, c, ldc, scratch)
    else:
        cyconv_double_gemm(transposed_a, transposed_b, m, n, k, a, lda, b, ldb, accumulate, c, ldc, scratch)


cdef inline void pack_panels(const floating* b, Py_ssize_t ldb, Py_ssize_t n, Py_ssize_t k,
                             floating* panels) noexcept nogil:
    # B (k, n) as panels_gemm reads it: panels_size elements.
    if floating is float:
        cyconv_float_pack_panels(b, ldb, n, k, panels)
    else:
        cyconv_double_pack_panels(b, ldb, n, k, panels)


cdef inline void transpose(const floating* a, Py_ssize_t lda, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t length,
                           floating* out) noexcept nogil:
    # out (columns, length) = A^T of A (rows, columns), and zeros up to length.
    if floating is float:
        cyconv_float_pack_columns(a, lda, True, rows, columns, length, out)
    else:
        cyconv_double_pack_columns(a, lda, True, rows, columns, length, out)


cdef inline void pack_columns_of(const floating* line, const cyconv_columns* b, Py_ssize_t n, Py_ssize_t k,
                                 floating* panels) noexcept nogil:
    # The columns of n positions as panels_gemm reads them: panels_size elements.
    if floating is float:
        cyconv_float_pack_columns_of(line, b, n, k, panels)
    else:
        cyconv_double_pack_columns_of(line, b, n, k, panels)


cdef inline void columns_gemm(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const floating* a, Py_ssize_t lda, const floating* line,
                              const cyconv_columns* b, bint accumulate, floating* c, Py_ssize_t ldc,
                              floating* scratch) noexcept nogil:
    # gemm of A (m, k) and the columns of n positions, k <= PANEL_DEPTH.
    if floating is float:
        cyconv_float_columns_gemm(m, n, k, a, lda, line, b, accumulate, c, ldc, scratch)
    else:
        cyconv_double_columns_gemm(m, n, k, a, lda, line, b, accumulate, c, ldc, scratch)


cdef inline Py_ssize_t panels_size(Py_ssize_t n, Py_ssize_t k, size_t itemsize) noexcept nogil:
    cdef Py_ssize_t lanes = lanes_of(itemsize)
    return k * ((n + 3 * lanes - 1) // (3 * lanes) * 3 * lanes + lanes // 4) + lanes


cdef inline void panels_gemm(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const floating* a, Py_ssize_t lda,
                             const floating* panels, bint accumulate, floating* c, Py_ssize_t ldc,
                             floating* scratch) noexcept nogil:
    # gemm of A (m, k) and the panels of B (k, n), k <= PANEL_DEPTH.
    if floating is float:
        cyconv_float_panels_gemm(m, n, k, a, lda, panels, accumulate, c, ldc, scratch)
    else:
        cyconv_double_panels_gemm(m, n, k, a, lda, panels, accumulate, c, ldc, scratch)


cdef inline void dots(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const floating* a, Py_ssize_t lda,
                      const floating* b, Py_ssize_t ldb, floating* c, Py_ssize_t ldc) noexcept nogil:
    # C := A B^T of A (m, k) and B (n, k), as dot products of rows.
    if floating is float:
        cyconv_float_dots(m, n, k, a, lda, b, ldb, False, c, ldc)
    else:
        cyconv_double_dots(m, n, k, a, lda, b, ldb, False, c, ldc)


cdef inline Py_ssize_t lanes_of(size_t itemsize) noexcept nogil:
    return FLOAT_LANES if itemsize == sizeof(float) else DOUBLE_LANES


cdef inline Py_ssize_t gemm_scratch(size_t itemsize) noexcept nogil:
    # Elements that gemm needs: packed panels of A and of B, a block of C.
    return PANEL_SCRATCH(lanes_of(itemsize))


cdef inline Py_ssize_t shared_scratch(size_t itemsize) noexcept nogil:
    # The same for panels_gemm.
    return ROWS_SCRATCH(lanes_of(itemsize))


cdef inline void interleave(const floating* strips, Py_ssize_t stride, Py_ssize_t count, floating* out) noexcept nogil:
    if floating is float:
        cyconv_float_interleave(strips, stride, count, out)
    else:
        cyconv_double_interleave(strips, stride, count, out)


cdef inline bint all_finite(const floating* values, Py_ssize_t count) noexcept nogil:
    if floating is float:
        return cyconv_float_all_finite(values, count)
    else:
        return cyconv_double_all_finite(values, count)


cdef inline void lay_channels(const floating* planes, Py_ssize_t plane, Py_ssize_t row_length, Py_ssize_t H, Py_ssize_t W,
                              Py_ssize_t y, Py_ssize_t step_h, Py_ssize_t x, Py_ssize_t rows, Py_ssize_t count,
                              floating* strip) noexcept nogil:
    if floating is float:
        cyconv_float_lay_channels(planes, plane, row_length, H, W, y, step_h, x, rows, count, strip)
    else:
        cyconv_double_lay_channels(planes, plane, row_length, H, W, y, step_h, x, rows, count, strip)


cdef inline void tile_values(const floating* strip, Py_ssize_t length, Py_ssize_t step, const cyconv_tile* tiles,
                             Py_ssize_t count, const cyconv_kernel* kernel, bint gradient, floating* values, Py_ssize_t plane,
                             Py_ssize_t row, Py_ssize_t half) noexcept nogil:
    if floating is float:
        cyconv_float_tile_values(strip, length, step, tiles, count, kernel, gradient, values, plane, row, half)
    else:
        cyconv_double_tile_values(strip, length, step, tiles, count, kernel, gradient, values, plane, row, half)


cdef inline bint tap_sums(const floating* sums, Py_ssize_t plane, Py_ssize_t first, Py_ssize_t past, Py_ssize_t channels,
                          const cyconv_kernel* kernel, floating* grad_weight) noexcept nogil:
    if floating is float:
        return cyconv_float_tap_sums(sums, plane, first, past, channels, kernel, grad_weight)
    else:
        return cyconv_double_tap_sums(sums, plane, first, past, channels, kernel, grad_weight)


cdef inline void weight_panel(const floating* weight, Py_ssize_t weight_out, Py_ssize_t weight_in, Py_ssize_t filters,
                              Py_ssize_t width, Py_ssize_t channels, const cyconv_kernel* kernel, int first, int past,
                              bint flipped, floating* values, Py_ssize_t plane, Py_ssize_t step,
                              floating* packed) noexcept nogil:
    if floating is float:
        cyconv_float_weight_panel(weight, weight_out, weight_in, filters, width, channels, kernel, first, past, flipped,
                                  values, plane, step, packed)
    else:
        cyconv_double_weight_panel(weight, weight_out, weight_in, filters, width, channels, kernel, first, past, flipped,
                                   values, plane, step, packed)


cdef inline bint output_tiles(const floating* values, Py_ssize_t plane, Py_ssize_t row, const cyconv_tile* tiles,
                              Py_ssize_t count, const cyconv_kernel* kernel, const floating* bias, Py_ssize_t filters,
                              bint relu, const cyconv_made* made, floating* output, Py_ssize_t size) noexcept nogil:
    if floating is float:
        return cyconv_float_output_tiles(values, plane, row, tiles, count, kernel, bias, filters, relu, made, output, size)
    else:
        return cyconv_double_output_tiles(values, plane, row, tiles, count, kernel, bias, filters, relu, made, output, size)


cdef inline void lay_rows(const floating* plane, Py_ssize_t row_length, Py_ssize_t H, Py_ssize_t W, Py_ssize_t y,
                          Py_ssize_t stride_h, Py_ssize_t x, Py_ssize_t stride_w, Py_ssize_t rows, Py_ssize_t count,
                          floating* line) noexcept nogil:
    if floating is float:
        cyconv_float_lay_rows(plane, row_length, H, W, y, stride_h, x, stride_w, rows, count, line)
    else:
        cyconv_double_lay_rows(plane, row_length, H, W, y, stride_h, x, stride_w, rows, count, line)


cdef inline void copy_rows(const floating* lines, Py_ssize_t width, Py_ssize_t rows, Py_ssize_t W,
                           floating* out) noexcept nogil:
    if floating is float:
        cyconv_float_copy_rows(lines, width, rows, W, out)
    else:
        cyconv_double_copy_rows(lines, width, rows, W, out)


cdef inline void taps(const floating* line, const Py_ssize_t* distance, const floating* weight, Py_ssize_t count,
                      floating start, floating* out, Py_ssize_t length) noexcept nogil:
    if floating is float:
        cyconv_float_taps(line, distance, weight, count, start, out, length)
    else:
        cyconv_double_taps(line, distance, weight, count, start, out, length)


cdef inline void filter_plane(const cyconv_filter* f, const floating* images, Py_ssize_t size, Py_ssize_t plane,
                              Py_ssize_t first, Py_ssize_t count, const floating* weight, floating start, bint relu,
                              const floating* table, void* workspace, floating* out) noexcept nogil:
    if floating is float:
        cyconv_float_filter_plane(f, images, size, plane, first, count, weight, start, relu, table, workspace, out)
    else:
        cyconv_double_filter_plane(f, images, size, plane, first, count, weight, start, relu, table, workspace, out)


cdef inline void taps_gradient(const floating* line, const Py_ssize_t* distance, Py_ssize_t count,
                               const floating* grad, Py_ssize_t length, floating* sums) noexcept nogil:
    if floating is float:
        cyconv_float_taps_gradient(line, distance, count, grad, length, sums)
    else:
        cyconv_double_taps_gradient(line, distance, count, grad, length, sums)


cdef inline void interleave_row(const floating* lines, Py_ssize_t phase, Py_ssize_t stride, Py_ssize_t count, bint add,
                                floating* out) noexcept nogil:
    if floating is float:
        cyconv_float_interleave_row(lines, phase, stride, count, add, out)
    else:
        cyconv_double_interleave_row(lines, phase, stride, count, add, out)


cdef inline void line_dots(const floating* grads, Py_ssize_t grad_length, Py_ssize_t filters, const floating* line,
                           const Py_ssize_t* distance, Py_ssize_t taps, Py_ssize_t count, floating* sums) noexcept nogil:
    if floating is float:
        cyconv_float_line_dots(grads, grad_length, filters, line, distance, taps, count, sums)
    else:
        cyconv_double_line_dots(grads, grad_length, filters, line, distance, taps, count, sums)


cdef inline void close_dots(const floating* sums, Py_ssize_t filters, Py_ssize_t taps, floating* totals,
                            Py_ssize_t length) noexcept nogil:
    if floating is float:
        cyconv_float_close_dots(sums, filters, taps, totals, length)
    else:
        cyconv_double_close_dots(sums, filters, taps, totals, length)


cdef inline void pack_filters(const floating* weight, Py_ssize_t row_length, Py_ssize_t filters, Py_ssize_t taps,
                              floating* packed) noexcept nogil:
    if floating is float:
        cyconv_float_pack_filters(weight, row_length, filters, taps, packed)
    else:
        cyconv_double_pack_filters(weight, row_length, filters, taps, packed)


cdef inline void pack_taps(const floating* weight, Py_ssize_t row_step, Py_ssize_t channel_step, Py_ssize_t filters,
                           Py_ssize_t channels, const Py_ssize_t* tap, Py_ssize_t count, floating* packed) noexcept nogil:
    if floating is float:
        cyconv_float_pack_taps(weight, row_step, channel_step, filters, channels, tap, count, packed)
    else:
        cyconv_double_pack_taps(weight, row_step, channel_step, filters, channels, tap, count, packed)


cdef inline void line_product(const floating* packed, const floating* line, const Py_ssize_t* distance, Py_ssize_t taps,
                              Py_ssize_t filters, Py_ssize_t positions, bint by_rows, const floating* start, bint first, bint last,
                              bint relu, floating* sums, Py_ssize_t sums_length, Py_ssize_t width, Py_ssize_t W_out,
                              Py_ssize_t row_step, Py_ssize_t step, Py_ssize_t plane, floating* output,
                              floating* panel) noexcept nogil:
    if floating is float:
        cyconv_float_line_product(packed, line, distance, taps, filters, positions, by_rows, start, first, last, relu, sums,
                                  sums_length, width, W_out, row_step, step, plane, output, panel)
    else:
        cyconv_double_line_product(packed, line, distance, taps, filters, positions, by_rows, start, first, last, relu, sums,
                                   sums_length, width, W_out, row_step, step, plane, output, panel)


cdef inline void pixel_products(const floating* line, const Py_ssize_t* place, Py_ssize_t pixels, const Py_ssize_t* distance,
                                Py_ssize_t taps, const floating* panel, const Py_ssize_t* row, Py_ssize_t vectors,
                                bint accumulate, floating* sums, const Py_ssize_t* target, cyconv_ahead* ahead) noexcept nogil:
    if floating is float:
        cyconv_float_pixel_products(line, place, pixels, distance, taps, panel, row, <int>vectors, accumulate, sums, target, ahead)
    else:
        cyconv_double_pixel_products(line, place, pixels, distance, taps, panel, row, <int>vectors, accumulate, sums, target, ahead)


cdef inline void store_pixels(const floating* sums, Py_ssize_t length, Py_ssize_t pixels, Py_ssize_t filters, const floating* bias,
                              bint relu, bint accumulate, floating* out, Py_ssize_t plane) noexcept nogil:
    if floating is float:
        cyconv_float_store_pixels(sums, length, pixels, filters, bias, relu, accumulate, out, plane)
    else:
        cyconv_double_store_pixels(sums, length, pixels, filters, bias, relu, accumulate, out, plane)


cdef inline void lay_padded(const floating* plane, Py_ssize_t H, Py_ssize_t W, Py_ssize_t y, Py_ssize_t x, Py_ssize_t rows,
                            Py_ssize_t count, floating* line) noexcept nogil:
    if floating is float:
        cyconv_float_lay_padded(plane, H, W, y, x, rows, count, line)
    else:
        cyconv_double_lay_padded(plane, H, W, y, x, rows, count, line)


cdef inline void pack_transposed_taps(const floating* weight, Py_ssize_t room, Py_ssize_t taps, Py_ssize_t channel_step,
                                      Py_ssize_t filters, Py_ssize_t channels, const Py_ssize_t* tap, const Py_ssize_t* count,
                                      Py_ssize_t phases, Py_ssize_t width, floating* packed) noexcept nogil:
    if floating is float:
        cyconv_float_pack_transposed_taps(weight, room, taps, channel_step, filters, channels, tap, count, phases, width, packed)
    else:
        cyconv_double_pack_transposed_taps(weight, room, taps, channel_step, filters, channels, tap, count, phases, width, packed)


cdef inline void store_phases(const floating* sums, Py_ssize_t phase, Py_ssize_t phases, Py_ssize_t length, Py_ssize_t pixels,
                              Py_ssize_t filters, bint accumulate, floating* out, Py_ssize_t plane) noexcept nogil:
    if floating is float:
        cyconv_float_store_phases(sums, phase, phases, length, pixels, filters, accumulate, out, plane)
    else:
        cyconv_double_store_phases(sums, phase, phases, length, pixels, filters, accumulate, out, plane)
