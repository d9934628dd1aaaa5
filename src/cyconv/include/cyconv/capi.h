/* cyconv's kernels for C and C++; Cython has them by name in cyconv/capi.pxd.

   Call cyconv_import() once in every file that includes this, while its module is imported and with the GIL
   held. The other functions need no GIL, call from any thread, keep nothing, and return 0 or a code of
   cyconv_status. Called from several threads at once they must be called without the GIL.

   Arrays are C-contiguous: input (N, C_in, H_in, W_in), weight (C_out, C_in/groups, kernel_h, kernel_w),
   bias (C_out,) or NULL, output (N, C_out, H_out, W_out), columns (N, C_in*kernel_h*kernel_w, H_out*W_out);
   a gradient has the shape of what it is the gradient of. Outputs are filled, and overlap no input.

   What may change between versions, and what may not: docs/abi.md. */
#ifndef CYCONV_CAPI_H
#define CYCONV_CAPI_H
#include <Python.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CYCONV_ABI 1 /* of this header */

enum cyconv_status {
    CYCONV_OK,
    CYCONV_NOT_IMPORTED,
    CYCONV_BAD_STRUCT,
    CYCONV_BAD_SIZE,
    CYCONV_BAD_WINDOW,
    CYCONV_BAD_GROUPS,
    CYCONV_BAD_ALGORITHM,
    CYCONV_BAD_THREADS,
    CYCONV_BAD_CEIL_MODE,
    CYCONV_BAD_PADDING,
    CYCONV_NO_FIT,
    CYCONV_TOO_LARGE,
    CYCONV_NULL_POINTER,
    CYCONV_BAD_INDEX,
    CYCONV_NO_MEMORY,
    CYCONV_STATUS_COUNT
};

enum cyconv_algorithm { CYCONV_AUTO, CYCONV_IM2COL, CYCONV_WINOGRAD };

/* One convolution, pooling or im2col. Fill it by cyconv_geometry_of(), then change what differs. */
typedef struct {
    size_t size; /* of this struct, as the caller was compiled */
    Py_ssize_t N, C_in, H_in, W_in;
    Py_ssize_t C_out, groups; /* of a convolution */
    Py_ssize_t kernel_h, kernel_w, stride_h, stride_w;
    Py_ssize_t pad_top, pad_bottom, pad_left, pad_right;
    Py_ssize_t dilation_h, dilation_w;
    int algorithm; /* cyconv_algorithm, of a convolution */
    int ceil_mode; /* of a pooling */
    int threads;   /* at most; 1 inside a parallel region of the caller */
} cyconv_geometry;

/* Stride, dilation, groups and threads 1, no padding. */
static inline cyconv_geometry cyconv_geometry_of(Py_ssize_t N, Py_ssize_t C_in, Py_ssize_t H_in, Py_ssize_t W_in,
                                                 Py_ssize_t C_out, Py_ssize_t kernel_h, Py_ssize_t kernel_w) {
    cyconv_geometry g = {sizeof(cyconv_geometry), N, C_in, H_in, W_in, C_out, 1, kernel_h, kernel_w, 1, 1,
                         0, 0, 0, 0, 1, 1, CYCONV_AUTO, 0, 1};
    return g;
}

/* The functions of one element type, in the order of the table. */
#define CYCONV_FUNCTIONS(REAL)                                                                                     \
    int (*conv2d_forward_##REAL)(const cyconv_geometry *, const REAL *input, const REAL *weight, const REAL *bias, \
                                 REAL *output);                                                                    \
    int (*conv2d_backward_input_##REAL)(const cyconv_geometry *, const REAL *grad_output, const REAL *weight,      \
                                        REAL *grad_input);                                                         \
    int (*conv2d_backward_weight_##REAL)(const cyconv_geometry *, const REAL *grad_output, const REAL *input,      \
                                         REAL *grad_weight);                                                       \
    int (*max_pool2d_forward_##REAL)(const cyconv_geometry *, const REAL *input, REAL *output, long long *indices); \
    int (*max_pool2d_backward_##REAL)(const cyconv_geometry *, const REAL *grad_output, const long long *indices,  \
                                      REAL *grad_input);                                                           \
    int (*im2col_##REAL)(const cyconv_geometry *, const REAL *input, REAL *columns);                               \
    int (*col2im_##REAL)(const cyconv_geometry *, const REAL *columns, REAL *output);

/* Later versions append. */
typedef struct {
    const char *(*message)(int status);
    int (*output_size)(const cyconv_geometry *, Py_ssize_t *H_out, Py_ssize_t *W_out);
    CYCONV_FUNCTIONS(float)
    CYCONV_FUNCTIONS(double)
} cyconv_table;

static const cyconv_table *cyconv_api = NULL;

/* 0; or -1 with an ImportError set where the installed cyconv does not serve this header, or is not compiled. */
static inline int cyconv_import(void) {
    PyObject *module = PyImport_ImportModule("cyconv.capi"), *capsule = NULL;
    if (module != NULL) capsule = PyObject_CallMethod(module, "table", "i", CYCONV_ABI);
    cyconv_api = capsule == NULL ? NULL : (const cyconv_table *)PyCapsule_GetPointer(capsule, "cyconv.capi");
    Py_XDECREF(capsule); /* its module, which is never unloaded, has the table */
    Py_XDECREF(module);
    return cyconv_api == NULL ? -1 : 0;
}

/* What a code means, in a sentence that says what was expected. */
static inline const char *cyconv_message(int status) {
    return cyconv_api == NULL ? "cyconv: call cyconv_import() when your module is imported"
                              : cyconv_api->message(status);
}

#define CYCONV_CALL(CALL) return cyconv_api == NULL ? CYCONV_NOT_IMPORTED : cyconv_api->CALL

static inline int cyconv_output_size(const cyconv_geometry *g, Py_ssize_t *H_out, Py_ssize_t *W_out) {
    CYCONV_CALL(output_size(g, H_out, W_out));
}

/* output = weight * input + bias; the gradients of that; maxima and (indices != NULL) their places in the plane of
   the input, -1 where a dilated window has no pixel; the gradient of that; im2col and its adjoint. */
#define CYCONV_WRAPPERS(REAL)                                                                                         \
    static inline int cyconv_conv2d_forward_##REAL(const cyconv_geometry *g, const REAL *input, const REAL *weight,   \
                                                   const REAL *bias, REAL *output) {                                  \
        CYCONV_CALL(conv2d_forward_##REAL(g, input, weight, bias, output));                                           \
    }                                                                                                                 \
    static inline int cyconv_conv2d_backward_input_##REAL(const cyconv_geometry *g, const REAL *grad_output,          \
                                                          const REAL *weight, REAL *grad_input) {                     \
        CYCONV_CALL(conv2d_backward_input_##REAL(g, grad_output, weight, grad_input));                                \
    }                                                                                                                 \
    static inline int cyconv_conv2d_backward_weight_##REAL(const cyconv_geometry *g, const REAL *grad_output,         \
                                                           const REAL *input, REAL *grad_weight) {                    \
        CYCONV_CALL(conv2d_backward_weight_##REAL(g, grad_output, input, grad_weight));                               \
    }                                                                                                                 \
    static inline int cyconv_max_pool2d_forward_##REAL(const cyconv_geometry *g, const REAL *input, REAL *output,     \
                                                       long long *indices) {                                          \
        CYCONV_CALL(max_pool2d_forward_##REAL(g, input, output, indices));                                            \
    }                                                                                                                 \
    static inline int cyconv_max_pool2d_backward_##REAL(const cyconv_geometry *g, const REAL *grad_output,            \
                                                        const long long *indices, REAL *grad_input) {                 \
        CYCONV_CALL(max_pool2d_backward_##REAL(g, grad_output, indices, grad_input));                                 \
    }                                                                                                                 \
    static inline int cyconv_im2col_##REAL(const cyconv_geometry *g, const REAL *input, REAL *columns) {              \
        CYCONV_CALL(im2col_##REAL(g, input, columns));                                                                \
    }                                                                                                                 \
    static inline int cyconv_col2im_##REAL(const cyconv_geometry *g, const REAL *columns, REAL *output) {             \
        CYCONV_CALL(col2im_##REAL(g, columns, output));                                                               \
    }

CYCONV_WRAPPERS(float)
CYCONV_WRAPPERS(double)

#undef CYCONV_WRAPPERS
#undef CYCONV_CALL
#undef CYCONV_FUNCTIONS

#ifdef __cplusplus
}
#endif
#endif
