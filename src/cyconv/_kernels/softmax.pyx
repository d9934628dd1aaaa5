# Softmax and cross-entropy of each row of logits; rows are divided over the team.

def softmax_cross_entropy(logits, targets, losses, grad_logits):
    """losses[n] = -sum over k of t[n, k] * log(softmax(logits[n])[k]); grad_logits = that of their mean.

    targets: t, (N, K), or the classes where t is 1, (N,).
    """
    classes = targets if targets.ndim == 1 else None
    probabilities = targets if targets.ndim == 2 else None
    if logits.itemsize == sizeof(float):
        softmax_rows[float](logits, classes, probabilities, losses, grad_logits)
    else:
        softmax_rows[double](logits, classes, probabilities, losses, grad_logits)


cdef int softmax_rows(const floating[:, ::1] logits,         # IN (N, K)
                      const long long[::1] classes,          # IN (N,), or None
                      const floating[:, ::1] probabilities,  # IN (N, K), or None
                      floating[::1] losses,                  # OUT (N,)
                      floating[:, ::1] grad_logits,          # OUT (N, K)
                      ) except -1:
    cdef Py_ssize_t N = logits.shape[0], K = logits.shape[1], t
    cdef Py_ssize_t rows = max(1, CHUNK // 8 // K)  # of one task: an exponential is dearer than a product
    cdef int threads = team(<double>N * K * 10, ceil_div(N, rows))
    cdef uint64_t control = 0
    cdef const long long* classes_ = NULL
    cdef const floating* probabilities_ = NULL
    if N == 0:
        return 0
    if classes is not None:
        classes_ = &classes[0]
    else:
        probabilities_ = &probabilities[0, 0]
    with nogil, parallel(num_threads=threads):
        control = flush_denormals()
        for t in prange(ceil_div(N, rows)):
            softmax_block(t * rows, min(N, (t + 1) * rows), N, K, &logits[0, 0], classes_, probabilities_, &losses[0],
                          &grad_logits[0, 0])
        restore_denormals(control)
    return 0


cdef void softmax_block(Py_ssize_t start, Py_ssize_t stop, Py_ssize_t N, Py_ssize_t K, const floating* logits,
                        const long long* classes, const floating* probabilities, floating* losses,
                        floating* grad_logits) noexcept nogil:
    cdef floating share = <floating>(1.0 / N)
    cdef Py_ssize_t n
    for n in range(start, stop):
        if classes != NULL:
            losses[n] = class_row(logits + n * K, K, classes[n], share, grad_logits + n * K)
        else:
            losses[n] = probability_row(logits + n * K, K, probabilities + n * K, share, grad_logits + n * K)


cdef floating class_row(const floating* logits, Py_ssize_t K, Py_ssize_t target, floating share,
                        floating* grad) noexcept nogil:
    cdef floating most = exponentials(logits, K, grad)
    cdef double total = sum_run(grad, 0, K)
    cdef floating scale = <floating>(1 / total), wanted = (grad[target] * scale - 1) * share
    cdef Py_ssize_t k
    for k in range(K):
        grad[k] = grad[k] * scale * share
    grad[target] = wanted
    return <floating>(log(total) - (logits[target] - most))


cdef floating probability_row(const floating* logits, Py_ssize_t K, const floating* targets, floating share,
                              floating* grad) noexcept nogil:
    cdef floating most = exponentials(logits, K, grad)
    cdef double total = sum_run(grad, 0, K), loss = 0
    cdef floating scale = <floating>(sum_run(targets, 0, K) / total)
    cdef double surprise = log(total)
    cdef Py_ssize_t k
    for k in range(K):
        if targets[k] != 0:  # a class of probability 0 adds nothing, even where its log is -inf
            loss += targets[k] * (surprise - (logits[k] - most))
        grad[k] = (grad[k] * scale - targets[k]) * share
    return <floating>loss
