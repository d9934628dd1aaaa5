# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled backend: the functions of ``cyconv._reference`` under OpenMP, over SciPy's BLAS.

This file is compiled once for each instruction-set level; the rooms below are included into it.
Outer functions take checked, C-contiguous arrays of one dtype and only fill the outputs. They raise
nothing but MemoryError, and release the GIL.
"""

from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY, log, sqrt
from libc.limits cimport INT_MAX
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
cdef extern from "stream.h":
    void prefetch "cyconv_prefetch"(const void* memory, Py_ssize_t size) noexcept nogil

from libc.string cimport memcpy, memset

import os

from cyconv import _threads

from cyconv cimport capi
from cyconv._kernels.blas cimport blas_gemm
from cyconv._kernels.panels cimport (
    CYCONV_PANELS, GEMM_PANELS, GROUP, LINE_PANELS, PANEL_DEPTH, PANEL_VECTORS, ROWS, TILE_ROWS, WINOGRAD_CHANNELS, WINOGRAD_GROUP_BYTES,
    all_finite, close_dots, columns_gemm, copy_rows, cyconv_ahead, cyconv_columns, cyconv_filter, cyconv_kernel, cyconv_made,
    cyconv_tile, dots, filter_plane, gemm, gemm_scratch, interleave, interleave_row, lanes_of, lay_channels, lay_padded, lay_rows,
    line_dots, line_product, output_tiles, pack_columns_of, pack_filters, pack_panels, pack_taps,
    pack_transposed_taps, panel_rows, panels_gemm, panels_size, pixel_products, shared_scratch, store_phases, store_pixels, tap_sums, taps, taps_gradient, tile_values, transpose, weight_panel)
from cyconv._kernels.pools cimport average_row, max_plane, share_row
from cyconv._kernels.planes cimport lay_vectors, store_planes, vector_tap_sums, vector_taps
from cyconv._kernels.sums cimport exponentials, sum_products, sum_run, sum_squares
from cyconv._kernels.window cimport Window, c_window, first_inside, past_inside, windows

include "team.pyx"
include "door.pyx"
include "conv.pyx"
include "strips.pyx"
include "tiling.pyx"
include "im2col.pyx"
include "columns.pyx"
include "conv_forward.pyx"
include "conv_backward_input.pyx"
include "conv_backward_weight.pyx"
include "winograd_sizes.pyx"
include "winograd.pyx"
include "winograd_weight.pyx"
include "small_planes.pyx"
include "depthwise.pyx"
include "implicit.pyx"
include "implicit_weight.pyx"
include "inside.pyx"
include "direct.pyx"
include "direct_weight.pyx"
include "matmul.pyx"
include "dense.pyx"
include "algorithm.pyx"
include "pool.pyx"
include "elementwise.pyx"
include "norm.pyx"
include "softmax.pyx"
include "update.pyx"
include "plan.pyx"
include "capi.pyx"
