# The only place that calls BLAS. SciPy's BLAS is column-major: a row-major C = A B is its C^T = B^T A^T.

from cython cimport floating
from scipy.linalg.cython_blas cimport dgemm, sgemm


cdef inline void blas_gemm(bint transpose_a, bint transpose_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                           const floating* a, Py_ssize_t lda, const floating* b, Py_ssize_t ldb,
                           floating beta, floating* c, Py_ssize_t ldc) noexcept nogil:
    # C := op(A) op(B) + beta*C, row-major: op(A) is (m, k), op(B) (k, n), C (m, n); lda, ldb, ldc are
    # the lengths of stored rows. The caller keeps every size within INT_MAX.
    cdef int m_ = <int>m, n_ = <int>n, k_ = <int>k, lda_ = <int>lda, ldb_ = <int>ldb, ldc_ = <int>ldc
    cdef char op_a = b"t" if transpose_a else b"n"
    cdef char op_b = b"t" if transpose_b else b"n"
    cdef floating one = 1
    if floating is float:
        sgemm(&op_b, &op_a, &n_, &m_, &k_, &one, <float*>b, &ldb_, <float*>a, &lda_, &beta, c, &ldc_)
    else:
        dgemm(&op_b, &op_a, &n_, &m_, &k_, &one, <double*>b, &ldb_, <double*>a, &lda_, &beta, c, &ldc_)
