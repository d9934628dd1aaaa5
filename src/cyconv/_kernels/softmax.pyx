# Softmax and cross-entropy of each row of logits; rows are divided over the team.

def softmax_cross_entropy(logits, targets, losses, grad_logits):
    """losses[n] = -sum over k of t[n, k] * log(softmax(logits[n])[k]); grad_logits = that of their mean.

    targets: t, (N, K), or the classes where t is 1, (N,).
    """
    cdef Array x = array_in(logits)         # (N, K)
    cdef Array t = array_in(targets)        # (N, K), or (N,) of int64
    cdef Array loss = array_out(losses)     # (N,)
    cdef Array dx = array_out(grad_logits)  # (N, K)
    cdef const long long* classes = <long long*>t.data if t.ndim == 1 else NULL
    cdef int most = _threads.get_num_threads()
    with nogil:
        if x.itemsize == sizeof(float):
            softmax_rows[float](x.shape[0], x.shape[1], <float*>x.data, classes, <float*>t.data, <float*>loss.data,
                                <float*>dx.data, most)
        else:
            softmax_rows[double](x.shape[0], x.shape[1], <double*>x.data, classes, <double*>t.data,
                                 <double*>loss.data, <double*>dx.data, most)


cdef void softmax_rows(Py_ssize_t N, Py_ssize_t K, const floating* logits, const long long* classes,
                       const floating* probabilities, floating* losses, floating* grad_logits,
                       int threads) noexcept nogil:
    """With `classes`, unless it is NULL; else with `probabilities`."""
    cdef Py_ssize_t rows = max(1, CHUNK // 8 // max(1, K))  # of one task: an exponential is dearer than a product
    cdef Py_ssize_t tasks = ceil_div(N, rows), t
    threads = team_of(threads, <double>N * K * 10, tasks)
    if threads == 1:
        softmax_block(0, N, N, K, logits, classes, probabilities, losses, grad_logits)
    else:
        for t in prange(tasks, num_threads=threads):
            softmax_block(t * rows, min(N, (t + 1) * rows), N, K, logits, classes, probabilities, losses, grad_logits)


cdef void softmax_block(Py_ssize_t start, Py_ssize_t stop, Py_ssize_t N, Py_ssize_t K, const floating* logits,
                        const long long* classes, const floating* probabilities, floating* losses,
                        floating* grad_logits) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    cdef floating share = <floating>(1.0 / N)
    cdef Py_ssize_t n
    for n in range(start, stop):
        if classes != NULL:
            losses[n] = class_row(logits + n * K, K, classes[n], share, grad_logits + n * K)
        else:
            losses[n] = probability_row(logits + n * K, K, probabilities + n * K, share, grad_logits + n * K)
    restore_denormals(control)


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
