/* The C templates in vector types, once for float and once for double. */
#ifndef CYCONV_VECTORS_H
#define CYCONV_VECTORS_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ROWS x 3 sums, 3 operands and 1 factor fill the registers: 32 of AVX-512 and NEON, 16 of AVX2 and SSE2.
   CYCONV_PANELS: the micro-kernel beats BLAS; elsewhere gemm is BLAS (on Apple's it has a matrix unit). */
#if !defined(__GNUC__) /* no vector types: plain C, one lane */
#define VECTOR_OF(lanes)
#define FLOAT_LANES 1
#define DOUBLE_LANES 1
#define ROWS 1
#define CYCONV_PANELS 0
#define CYCONV_INLINE static inline
#else
#define VECTOR_OF(lanes) __attribute__((vector_size((lanes) * sizeof(REAL))))
#define CYCONV_INLINE static inline __attribute__((always_inline))
#if defined(__AVX512F__)
#define FLOAT_LANES 16
#define DOUBLE_LANES 8
#define ROWS 8
#define CYCONV_PANELS 1
#elif defined(__AVX2__)
#define FLOAT_LANES 8
#define DOUBLE_LANES 4
#define ROWS 4
#define CYCONV_PANELS 1
#else
#define FLOAT_LANES 4
#define DOUBLE_LANES 2
#define ROWS 4
#if defined(__aarch64__) && !defined(__APPLE__)
#define CYCONV_PANELS 1
#else
#define CYCONV_PANELS 0
#endif
#endif
#endif

#define PANEL_DEPTH 256 /* of one product: a packed panel of B, 3 * LANES columns, stays in the L1 cache */
#define GEMM_ROWS 128   /* rows of A that are packed at once; a multiple of ROWS */
#define PANEL_SCRATCH(lanes) (GEMM_ROWS * PANEL_DEPTH + 3 * (lanes) * (PANEL_DEPTH + ROWS))

#define WINOGRAD_CHANNELS 16 /* whose weights are transformed at once */

typedef struct { /* one tile of Winograd's filtering */
    ptrdiff_t pixel, output; /* of its first pixel: in the strip of the input; in the output's channel */
    int rows, columns;       /* of outputs that exist */
    int whole;               /* tiles with all their columns from here on, side by side */
} cyconv_tile;

/* Elements of two vectors in turn, from their lower or their upper halves. */
#define LOW_1(a, b) (a)
#define HIGH_1(a, b) (b)
#define LOW_2(a, b) __builtin_shufflevector(a, b, 0, 2)
#define HIGH_2(a, b) __builtin_shufflevector(a, b, 1, 3)
#define LOW_4(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH_4(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define LOW_8(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_8(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define LOW_16(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH_16(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
/* Every second element of two vectors, from the first or the second. */
#define EVEN_2(a, b) __builtin_shufflevector(a, b, 0, 2)
#define ODD_2(a, b) __builtin_shufflevector(a, b, 1, 3)
#define EVEN_4(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define ODD_4(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)
#define EVEN_8(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODD_8(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
#define EVEN_16(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD_16(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define SHUFFLE_LOW PASTE(LOW_, LANES)
#define SHUFFLE_HIGH PASTE(HIGH_, LANES)
#define EVEN PASTE(EVEN_, LANES)
#define ODD PASTE(ODD_, LANES)

/* Whether a line of `positions`, rows of `columns` outputs `width` apart, is multiplied in less time by blocks that end
   with its rows than by blocks of three vectors throughout. In products of vectors: a block of two vectors takes as long
   as 2.4 of three; outputs of a block that does not lie in one row are copied. */
static inline int ends_with_rows(ptrdiff_t positions, ptrdiff_t width, ptrdiff_t columns, ptrdiff_t lanes, ptrdiff_t taps)
{
    const double vectors[3] = {0, 0.8, 0.4}; /* more, by what is left of threes */
    const ptrdiff_t in_row = (columns + lanes - 1) / lanes, rows = (positions - 1) / width + 1;
    const double copied = (3 * lanes < width ? (double)(3 * lanes) / width : 1) * 10;
    return rows * (in_row + vectors[in_row % 3]) * taps <= (double)positions / lanes * (taps + copied);
}

#define REAL float
#define LANES FLOAT_LANES
#define PANEL(name) cyconv_float_##name
#define WP 0.625f
#define WQ 1.5f
#define BITS uint32_t
#include "panel.h"
#include "dots.h"
#include "winograd.h"
#include "depthwise.h"
#include "implicit.h"
#include "pool.h"
#include "sums.h"
#include "softmax.h"
#undef REAL
#undef LANES
#undef PANEL
#undef WP
#undef WQ
#undef BITS

#define REAL double
#define LANES DOUBLE_LANES
#define PANEL(name) cyconv_double_##name
#define WP 0.625
#define WQ 1.5
#define BITS uint64_t
#include "panel.h"
#include "dots.h"
#include "winograd.h"
#include "depthwise.h"
#include "implicit.h"
#include "pool.h"
#include "sums.h"
#include "softmax.h"
#undef REAL
#undef LANES
#undef PANEL
#undef WP
#undef WQ
#undef BITS
#endif
