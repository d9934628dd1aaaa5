# The optimizers' steps: each array is read and written once, in chunks over the team.

def sgd_update(param, grad, velocity, double lr, double momentum, bint nesterov, double weight_decay):
    """g = grad + weight_decay * param; velocity (or None) = momentum * velocity + g; param -= lr * velocity.

    With nesterov param -= lr * (g + momentum * velocity), without a velocity param -= lr * g.
    """
    cdef Array w = array_out(param)     # IN, OUT: of any shape
    cdef Array g = array_in(grad)       # IN: like param
    cdef Array v = array_out(velocity)  # IN, OUT: like param; or None
    cdef int threads = chunk_team(w.size, 5)
    with nogil:
        if w.itemsize == sizeof(float):
            sgd_chunks[float](w.size, <float*>w.data, <float*>g.data, <float*>v.data, <float>lr, <float>momentum,
                              nesterov, <float>weight_decay, threads)
        else:
            sgd_chunks[double](w.size, <double*>w.data, <double*>g.data, <double*>v.data, lr, momentum, nesterov,
                               weight_decay, threads)


cdef void sgd_chunks(Py_ssize_t size, floating* param, const floating* grad, floating* velocity, floating lr,
                     floating momentum, bint nesterov, floating weight_decay, int threads) noexcept nogil:
    """`velocity` may be NULL."""
    cdef Py_ssize_t t
    if threads == 1:
        sgd_chunk(0, size, param, grad, velocity, lr, momentum, nesterov, weight_decay)
    else:
        for t in prange(ceil_div(size, CHUNK), num_threads=threads):
            sgd_chunk(t * CHUNK, min(size, (t + 1) * CHUNK), param, grad, velocity, lr, momentum, nesterov,
                      weight_decay)


cdef void sgd_chunk(Py_ssize_t start, Py_ssize_t stop, floating* param, const floating* grad, floating* velocity,
                    floating lr, floating momentum, bint nesterov, floating weight_decay) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t i
    cdef floating g
    if velocity == NULL:
        for i in range(start, stop):
            g = grad[i] + weight_decay * param[i] if weight_decay != 0 else grad[i]
            param[i] -= lr * g
    else:
        for i in range(start, stop):
            g = grad[i] + weight_decay * param[i] if weight_decay != 0 else grad[i]
            velocity[i] = momentum * velocity[i] + g
            param[i] -= lr * (g + momentum * velocity[i] if nesterov else velocity[i])
    restore_denormals(control)


def adam_update(param, grad, first, second, double beta1, double beta2, double step_size, double root, double eps,
                double shrink, double weight_decay):
    """param *= shrink; g = grad + weight_decay * param; first = beta1 * first + (1 - beta1) * g;
    second = beta2 * second + (1 - beta2) * g^2; param -= step_size * first / (sqrt(second) / root + eps).
    """
    cdef Array w = array_out(param)   # IN, OUT: of any shape
    cdef Array g = array_in(grad)     # IN: like param
    cdef Array m = array_out(first)   # IN, OUT: like param
    cdef Array v = array_out(second)  # IN, OUT: like param
    cdef int threads = chunk_team(w.size, 10)
    with nogil:
        if w.itemsize == sizeof(float):
            adam_chunks[float](w.size, <float*>w.data, <float*>g.data, <float*>m.data, <float*>v.data, <float>beta1,
                               <float>(1 - beta1), <float>beta2, <float>(1 - beta2), <float>step_size, <float>root,
                               <float>eps, <float>shrink, <float>weight_decay, threads)
        else:
            adam_chunks[double](w.size, <double*>w.data, <double*>g.data, <double*>m.data, <double*>v.data, beta1,
                                1 - beta1, beta2, 1 - beta2, step_size, root, eps, shrink, weight_decay, threads)


cdef void adam_chunks(Py_ssize_t size, floating* param, const floating* grad, floating* first, floating* second,
                      floating beta1, floating rest1, floating beta2, floating rest2, floating step_size,
                      floating root, floating eps, floating shrink, floating weight_decay, int threads) noexcept nogil:
    cdef Py_ssize_t t
    if threads == 1:
        adam_chunk(0, size, param, grad, first, second, beta1, rest1, beta2, rest2, step_size, root, eps, shrink,
                   weight_decay)
    else:
        for t in prange(ceil_div(size, CHUNK), num_threads=threads):
            adam_chunk(t * CHUNK, min(size, (t + 1) * CHUNK), param, grad, first, second, beta1, rest1, beta2, rest2,
                       step_size, root, eps, shrink, weight_decay)


cdef void adam_chunk(Py_ssize_t start, Py_ssize_t stop, floating* param, const floating* grad, floating* first,
                     floating* second, floating beta1, floating rest1, floating beta2, floating rest2,
                     floating step_size, floating root, floating eps, floating shrink,
                     floating weight_decay) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    cdef Py_ssize_t i
    cdef floating p, g
    for i in range(start, stop):
        p = param[i] * shrink
        g = grad[i] + weight_decay * p if weight_decay != 0 else grad[i]
        first[i] = beta1 * first[i] + rest1 * g
        second[i] = beta2 * second[i] + rest2 * g * g
        param[i] = p - step_size * first[i] / (<floating>sqrt(second[i]) / root + eps)
    restore_denormals(control)
