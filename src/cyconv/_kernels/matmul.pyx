# The product of two matrices, for the fully connected layer and for convolutions that are one (dense.pyx).

# Most rows and columns of the output that one task makes: whole panels of gemm. Each element is one sum in one
# order, however the output is divided.
cdef Py_ssize_t MATMUL_ROWS = 1024
cdef Py_ssize_t MATMUL_COLUMNS = 288
# Fewest of one of several tasks: each reads its rows and packs its columns anew.
cdef Py_ssize_t LEAST_ROWS = 64
cdef Py_ssize_t LEAST_COLUMNS = 56
# Packing a matrix does not pay for so few rows, or columns, of the other.
cdef Py_ssize_t FEW_ROWS = 32
cdef Py_ssize_t FEW_LANES = 2


cdef struct Product:
    # C := op(A) op(B) + bias: op(A) is (m, k), op(B) (k, n); lda and ldb are the lengths of stored rows.
    Py_ssize_t m, n, k, lda, ldb
    bint transpose_a, transpose_b, relu
    bint by_dots                # nothing is packed
    Py_ssize_t rows, row_blocks # of one task, and how many blocks that makes
    Py_ssize_t columns, column_blocks
    int threads                 # at most


def matmul(a, transpose_a, b, transpose_b, bias, relu, output):
    """output = op(a) . op(b) + bias (or None) along each row; with `relu` max(0, that)."""
    cdef Array x = array_in(a)         # (m, k), or (k, m) if transpose_a
    cdef Array w = array_in(b)         # (k, n), or (n, k) if transpose_b
    cdef Array shift = array_in(bias)  # (n,) or None
    cdef Array y = array_out(output)   # (m, n)
    cdef Product p
    cdef int status
    p.m, p.n, p.lda, p.ldb = y.shape[0], y.shape[1], x.shape[1], w.shape[1]
    p.transpose_a, p.transpose_b, p.relu = transpose_a, transpose_b, relu
    p.k = x.shape[0] if p.transpose_a else x.shape[1]
    p.threads = _threads.get_num_threads()
    divide_product(&p, y.itemsize)
    with products_guard(), nogil:
        if y.itemsize == sizeof(float):
            status = product[float](&p, <float*>x.data, <float*>w.data, <float*>shift.data, <float*>y.data)
        else:
            status = product[double](&p, <double*>x.data, <double*>w.data, <double*>shift.data, <double*>y.data)
    check_memory(status)


cdef void divide_product(Product* p, Py_ssize_t itemsize) noexcept nogil:
    """How it is computed, and in which tasks: by the shapes alone."""
    cdef Py_ssize_t lanes = lanes_of(itemsize)
    cdef Py_ssize_t wanted = <Py_ssize_t>max(1, min(<double>TASKS, <double>p.m * p.n * p.k / TASK_WORK))
    # the sum over the lanes of a dot product takes as long as some steps along k
    p.by_dots = (CYCONV_PANELS and p.transpose_b and not p.transpose_a and p.k >= 16 * lanes
                 and (p.m <= FEW_ROWS or p.n <= FEW_LANES * lanes))
    p.columns, p.column_blocks = MATMUL_COLUMNS, ceil_div(p.n, MATMUL_COLUMNS)
    p.rows = p.row_blocks = 0
    if p.m == 0 or p.n == 0:
        return
    divide(p.m, max(ceil_div(wanted, p.column_blocks), ceil_div(p.m, MATMUL_ROWS)), LEAST_ROWS, &p.rows, &p.row_blocks)
    if p.row_blocks * p.column_blocks < wanted:  # few rows: fewer columns, of whole panels
        divide(p.n, max(ceil_div(wanted, p.row_blocks), p.column_blocks), LEAST_COLUMNS, &p.columns, &p.column_blocks)
        p.columns = round_up(p.columns, 3 * lanes)
        p.column_blocks = ceil_div(p.n, p.columns)


cdef int product(const Product* p, const floating* a, const floating* b, const floating* bias,
                 floating* output) noexcept nogil:
    """0, or NO_MEMORY."""
    cdef Py_ssize_t tasks = p.row_blocks * p.column_blocks, t
    cdef int threads = team_of(p.threads, <double>p.m * p.n * p.k, tasks)
    cdef size_t size = gemm_scratch(sizeof(floating))
    cdef floating* scratch = <floating*>cyconv_acquire(threads * size * sizeof(floating))
    if scratch == NULL:
        return NO_MEMORY
    if tasks == 1:  # a team of one costs most of a microsecond
        product_block(p, 0, a, b, bias, output, scratch)
    else:
        for t in prange(tasks, num_threads=threads, schedule="dynamic"):
            product_block(p, t, a, b, bias, output, scratch + threadid() * size)
    cyconv_release(scratch)
    return 0


cdef void product_block(const Product* p, Py_ssize_t task, const floating* a, const floating* b, const floating* bias,
                        floating* output, floating* scratch) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t j = digit(&task, p.column_blocks) * p.columns, i = task * p.rows, r, c
    cdef Py_ssize_t rows = min(p.rows, p.m - i), columns = min(p.columns, p.n - j)
    a += i if p.transpose_a else i * p.lda
    b += j * p.ldb if p.transpose_b else j
    output += i * p.n + j
    if p.k == 0:
        for r in range(rows):
            memset(output + r * p.n, 0, columns * sizeof(floating))
    elif p.by_dots:
        dots(rows, columns, p.k, a, p.lda, b, p.ldb, output, p.n)
    else:
        gemm(p.transpose_a, p.transpose_b, rows, columns, p.k, a, p.lda, b, p.ldb, False, output, p.n, scratch)
    for r in range(rows):
        if bias != NULL:
            for c in range(columns):
                output[c] += bias[j + c]
        if p.relu:
            rectify(output, columns)
        output += p.n
    restore_denormals(control)
