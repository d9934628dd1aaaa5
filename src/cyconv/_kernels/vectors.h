/* The C templates in vector types, once for float and once for double. */
#ifndef CYCONV_VECTORS_H
#define CYCONV_VECTORS_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "stream.h"
#include "winograd_points.h"

/* CYCONV_WIDE: the kernels of AVX-512 at AVX2's level, slow ones: a build with CFLAGS=-DCYCONV_WIDE tests them.

   ROWS x 3 sums, 3 operands and 1 factor fill the registers: 32 of AVX-512 and NEON, 16 of AVX2 and SSE2.
   CYCONV_PANELS: the micro-kernel beats BLAS; elsewhere gemm is BLAS (on Apple's it has a matrix unit). */
#if !defined(__GNUC__) /* no vector types: plain C, one lane */
#define VECTOR_OF(lanes)
#define FLOAT_LANES 1
#define DOUBLE_LANES 1
#define ROWS 1
#define CYCONV_PANELS 0
#else
#define VECTOR_OF(lanes) __attribute__((vector_size((lanes) * sizeof(REAL))))
#if defined(__AVX512F__) || defined(CYCONV_WIDE) && defined(__AVX2__)
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

#define GROUP (3 * ROWS) /* rows of A that pass by the panels of B together: a block of one vector */
#define PANEL_VECTORS (ROWS > 4 ? 4 : 3) /* of filters in the widest panel of direct.h: GROUP / 4 pixels, or more */
#define PANEL_DEPTH (FLOAT_LANES > 8 ? 512 : 256) /* products that are added up in registers */
#define RUN_DEPTH 256   /* the same of A that is stored transposed: a run of it stays in the L2 cache with the panels of B */
#define GEMM_PANELS 12  /* of B, 3 * LANES columns each, that are packed at once: they stay in the L2 cache */
#define PANEL_RUN 48    /* rows of A that are packed at once where it is stored transposed; a multiple of GROUP */
#define RUN_STEP (RUN_DEPTH * ROWS + 16) /* from one of their panels to the next: off the powers of two */
#define IN_CACHE ((ptrdiff_t)16 << 20) /* bytes of a matrix that the last-level cache may hold, */
#define NEAR ((ptrdiff_t)1 << 20)      /* and the L2 cache */
/* Elements for what is packed of A: a run of panels, or GROUP rows. */
#define LEFT_SCRATCH (PANEL_RUN / ROWS * RUN_STEP > GROUP * (PANEL_DEPTH + 16) ? PANEL_RUN / ROWS * RUN_STEP : GROUP * (PANEL_DEPTH + 16))
/* And for the sums of a block that is not whole; for gemm also for panels of B, and a vector, since columns are copied in whole
   ones. */
#define ROWS_SCRATCH(lanes) (LEFT_SCRATCH + 3 * (lanes) * GROUP)
#define PANEL_SCRATCH(lanes) (ROWS_SCRATCH(lanes) + 3 * (lanes) * (GEMM_PANELS + 1) * PANEL_DEPTH + (lanes))

#define FETCH_STEP 8  /* products of a block of sums, in whose time so many lines of memory are fetched: more at once would wait */
#define FETCH_LINES 2 /* for each other, and products for all of them; */
#define FETCH_ONCE (FLOAT_LANES > 8 ? 10 : 4) /* before a block of so many rows that no register is left for it in between */

#define LINE_BLOCKS 12    /* of positions of an implicit product, that are taken at once */
#define LINE_PANELS 24576 /* elements of their columns: they stay in the L2 cache with the filters and the sums */

/* Depthwise outputs that share their pixels: 7 sums leave registers for 7 weights; planes often have 7, 14, 28, ... rows. */
#define TILE_ROWS 7

#define WINOGRAD_CHANNELS 16 /* whose weights are transformed at once */
/* Transformed weights of one panel of filters: about the L2 cache, which is larger where there is AVX-512. */
#define WINOGRAD_GROUP_BYTES (FLOAT_LANES > 8 ? 2400000 : 600000)

typedef struct { /* as Winograd's filtering takes it: phases of r x r taps or fewer; or along one axis, of r taps */
    int height, width, stride_h, stride_w, r;
    int high, wide; /* whether tiles are, 6 pixels or 1 */
} cyconv_kernel;

/* place[i * r + j]: where in the kernel the r x r taps of a phase are, (0, 0), (0, 1), ...; -1 where it has none. Along one
   axis place[t], and phases are parts of the kernel, one after another. */
static inline void cyconv_places(const cyconv_kernel *k, int phase, int flipped, int *place)
{
    const int taps = k->height * k->width;
    if (!k->high || !k->wide) {
        for (int t = 0, from = phase * k->r; t < k->r; t++, from++)
            place[t] = from >= taps ? -1 : flipped ? taps - 1 - from : from;
        return;
    }
    for (int t = 0; t < k->r * k->r; t++) {
        const int from = flipped ? k->r * k->r - 1 - t : t;
        const int y = from / k->r * k->stride_h + phase / k->stride_w, x = from % k->r * k->stride_w + phase % k->stride_w;
        place[t] = y < k->height && x < k->width ? y * k->width + x : -1;
    }
}

typedef struct { /* one tile of Winograd's filtering */
    ptrdiff_t pixel;        /* its first, in the strip of the input */
    ptrdiff_t output, y, x; /* of its outputs, where `top` and `left` are 0: the first; its row and column */
    ptrdiff_t run;          /* tiles side by side, from this one on */
} cyconv_tile;

typedef struct { /* a plane of outputs; output (y, x) of one of its phases lies at (y * stride_h + top, x * stride_w + left) */
    ptrdiff_t H, W, stride_h, stride_w, top, left;
} cyconv_made;

typedef struct { /* the columns of im2col, of some rows of outputs or some whole images: see columns.pyx */
    const ptrdiff_t *distance; /* of each tap, along the lines */
    ptrdiff_t W, L;            /* positions of a row, and of an image */
    ptrdiff_t width, image;    /* elements of the lines from a row to the next, and from an image */
    int exact;                 /* nothing behind a row may be read: lines are the image */
} cyconv_columns;

typedef struct { /* of depthwise filters that read the images where they lie */
    ptrdiff_t H, W, top, left;            /* of a plane that is read; rows and columns before the first output's */
    ptrdiff_t kernel_h, kernel_w, stride; /* stride: 1 or 2 */
    ptrdiff_t W_out;
    ptrdiff_t lines, reach, edges; /* rows that a strip reads; elements of each, in whole vectors; how many are copied */
} cyconv_filter;

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
/* Elements 0, 2, 4, ... and 1, 3, 5, ... of two vectors, in the order that costs one instruction; IN_ORDER mends it. */
#define EVEN_1(a, b) (a)
#define ODD_1(a, b) (b)
#define ORDER_1(a) (a)
#define EVEN_2(a, b) __builtin_shufflevector(a, b, 0, 2)
#define ODD_2(a, b) __builtin_shufflevector(a, b, 1, 3)
#define ORDER_2(a) (a)
#define EVEN_4(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define ODD_4(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)
#define ORDER_4(a) (a)
#define EVEN_8(a, b) __builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14)
#define ODD_8(a, b) __builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15)
#define ORDER_8(a) __builtin_shufflevector(a, a, 0, 1, 4, 5, 2, 3, 6, 7)
#define EVEN_16(a, b) __builtin_shufflevector(a, b, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30)
#define ODD_16(a, b) __builtin_shufflevector(a, b, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31)
#define ORDER_16(a) __builtin_shufflevector(a, a, 0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15)
#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define SHUFFLE_LOW PASTE(LOW_, LANES)
#define SHUFFLE_HIGH PASTE(HIGH_, LANES)
#define EVEN PASTE(EVEN_, LANES)
#define ODD PASTE(ODD_, LANES)
#define IN_ORDER PASTE(ORDER_, LANES)

/* The instruction that chooses between two vectors by the signs of a third. */
#if defined(__AVX__) && FLOAT_LANES == 8
#define FLOAT_BLEND __builtin_ia32_blendvps256
#define DOUBLE_BLEND __builtin_ia32_blendvpd256
#endif

/* sum += factor * row, and the products that a loop of the micro-kernel makes at once. The instruction is named, with all
   three in registers: left to themselves, compilers move and reload the operands of an unrolled block that fills them. */
#if defined(__GNUC__) && defined(__FMA__) && defined(__x86_64__)
#define UNROLL 4
#else
#define UNROLL 1
#endif
#if UNROLL > 1 && !defined(CYCONV_WIDE)
#define MULTIPLY_ADD(sum, factor, row) __asm__(FUSED " %2, %1, %0" : "+v"(sum) : "v"(factor), "v"(row))
#else
#define MULTIPLY_ADD(sum, factor, row) ((sum) += (factor) * (row))
#endif

#define REAL float
#define LANES FLOAT_LANES
#define PANEL(name) cyconv_float_##name
#define WP 0.625f
#define WQ 1.5f
#define BITS uint32_t
#define INT int32_t
#define BLEND FLOAT_BLEND
#define FUSED "vfmadd231ps"
#include "panel.h"
#include "dots.h"
#include "gemm.h"
#include "columns.h"
#include "depthwise.h"
#include "small_planes.h"
#include "winograd.h"
#include "implicit.h"
#include "direct.h"
#include "pool.h"
#include "sums.h"
#include "average.h"
#include "softmax.h"
#undef REAL
#undef LANES
#undef PANEL
#undef WP
#undef WQ
#undef BITS
#undef INT
#undef BLEND
#undef FUSED

#define REAL double
#define LANES DOUBLE_LANES
#define PANEL(name) cyconv_double_##name
#define WP 0.625
#define WQ 1.5
#define BITS uint64_t
#define INT int64_t
#define BLEND DOUBLE_BLEND
#define FUSED "vfmadd231pd"
#include "panel.h"
#include "dots.h"
#include "gemm.h"
#include "columns.h"
#include "depthwise.h"
#include "small_planes.h"
#include "winograd.h"
#include "implicit.h"
#include "direct.h"
#include "pool.h"
#include "sums.h"
#include "average.h"
#include "softmax.h"
#undef REAL
#undef LANES
#undef PANEL
#undef WP
#undef WQ
#undef BITS
#undef INT
#undef BLEND
#undef FUSED
#endif
