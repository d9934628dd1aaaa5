# The product of two matrices, for the fully connected layer.

# Rows and columns of the output that one gemm makes; fixed, so that bits do not depend on threads.
cdef Py_ssize_t MATMUL_ROWS = 1024
cdef Py_ssize_t MATMUL_COLUMNS = 256


def matmul(a, transpose_a, b, transpose_b, output):
    """output = op(a) . op(b) of two matrices."""
    with BLAS_GUARD:
        if a.itemsize == sizeof(float):
            matmul_blocks[float](a, transpose_a, b, transpose_b, output)
        else:
            matmul_blocks[double](a, transpose_a, b, transpose_b, output)


cdef int matmul_blocks(const floating[:, ::1] a,   # IN (m, k), or (k, m) if transpose_a
                       bint transpose_a,
                       const floating[:, ::1] b,   # IN (k, n), or (n, k) if transpose_b
                       bint transpose_b,
                       floating[:, ::1] output,    # OUT (m, n)
                       ) except -1:
    cdef Py_ssize_t m = output.shape[0], n = output.shape[1]
    cdef Py_ssize_t k = a.shape[0] if transpose_a else a.shape[1]
    cdef Py_ssize_t blocks_n = ceil_div(n, MATMUL_COLUMNS)
    cdef Py_ssize_t tasks = ceil_div(m, MATMUL_ROWS) * blocks_n, t
    cdef int threads = team(<double>m * n * k, tasks)
    cdef uint64_t control
    if m == 0 or n == 0:
        return 0
    if k == 0:
        memset(&output[0, 0], 0, m * n * sizeof(floating))
        return 0
    with nogil, parallel(num_threads=threads):
        control = flush_denormals()
        for t in prange(tasks, schedule="dynamic"):
            matmul_block(transpose_a, transpose_b, m, n, k, &a[0, 0], a.shape[1], &b[0, 0], b.shape[1],
                         &output[0, 0], t // blocks_n * MATMUL_ROWS, t % blocks_n * MATMUL_COLUMNS)
        restore_denormals(control)
    return 0


cdef void matmul_block(bint transpose_a, bint transpose_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                       const floating* a, Py_ssize_t lda, const floating* b, Py_ssize_t ldb,
                       floating* c, Py_ssize_t row, Py_ssize_t column) noexcept nogil:
    a += row if transpose_a else row * lda
    b += column * ldb if transpose_b else column
    blas_gemm[floating](transpose_a, transpose_b, min(MATMUL_ROWS, m - row), min(MATMUL_COLUMNS, n - column), k,
                   a, lda, b, ldb, 0, c + row * n + column, n)
