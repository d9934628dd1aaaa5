# The optimizers' steps: each array is read and written once, in chunks over the team.

def sgd_update(param, grad, velocity, lr, momentum, nesterov, weight_decay):
    """g = grad + weight_decay * param; velocity (or None) = momentum * velocity + g; param -= lr * velocity.

    With nesterov param -= lr * (g + momentum * velocity), without a velocity param -= lr * g.
    """
    if param.itemsize == sizeof(float):
        sgd_chunks[float](param, grad, velocity, lr, momentum, nesterov, weight_decay)
    else:
        sgd_chunks[double](param, grad, velocity, lr, momentum, nesterov, weight_decay)


cdef int sgd_chunks(floating[::1] param,       # IN, OUT
                    const floating[::1] grad,  # IN
                    floating[::1] velocity,    # IN, OUT, or None
                    floating lr, floating momentum, bint nesterov, floating weight_decay) except -1:
    cdef Py_ssize_t size = param.shape[0], tasks = ceil_div(size, CHUNK), t
    cdef int threads = team(<double>size * 5, tasks)
    cdef uint64_t control = 0
    cdef floating* velocity_ = NULL
    if size == 0:
        return 0
    if velocity is not None:
        velocity_ = &velocity[0]
    with nogil, parallel(num_threads=threads):
        control = flush_denormals()
        for t in prange(tasks):
            sgd_chunk(t * CHUNK, min(size, (t + 1) * CHUNK), &param[0], &grad[0], velocity_, lr, momentum, nesterov,
                      weight_decay)
        restore_denormals(control)
    return 0


cdef void sgd_chunk(Py_ssize_t start, Py_ssize_t stop, floating* param, const floating* grad, floating* velocity,
                    floating lr, floating momentum, bint nesterov, floating weight_decay) noexcept nogil:
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


def adam_update(param, grad, first, second, beta1, beta2, step_size, root, eps, shrink, weight_decay):
    """param *= shrink; g = grad + weight_decay * param; first = beta1 * first + (1 - beta1) * g;
    second = beta2 * second + (1 - beta2) * g^2; param -= step_size * first / (sqrt(second) / root + eps).
    """
    if param.itemsize == sizeof(float):
        adam_chunks[float](param, grad, first, second, beta1, 1 - beta1, beta2, 1 - beta2, step_size, root, eps,
                           shrink, weight_decay)
    else:
        adam_chunks[double](param, grad, first, second, beta1, 1 - beta1, beta2, 1 - beta2, step_size, root, eps,
                            shrink, weight_decay)


cdef int adam_chunks(floating[::1] param,       # IN, OUT
                     const floating[::1] grad,  # IN
                     floating[::1] first,       # IN, OUT
                     floating[::1] second,      # IN, OUT
                     floating beta1, floating rest1, floating beta2, floating rest2, floating step_size, floating root,
                     floating eps, floating shrink, floating weight_decay) except -1:
    cdef Py_ssize_t size = param.shape[0], tasks = ceil_div(size, CHUNK), t
    cdef int threads = team(<double>size * 10, tasks)
    cdef uint64_t control = 0
    with nogil, parallel(num_threads=threads):
        control = flush_denormals()
        for t in prange(tasks):
            adam_chunk(t * CHUNK, min(size, (t + 1) * CHUNK), &param[0], &grad[0], &first[0], &second[0], beta1, rest1,
                       beta2, rest2, step_size, root, eps, shrink, weight_decay)
        restore_denormals(control)
    return 0


cdef void adam_chunk(Py_ssize_t start, Py_ssize_t stop, floating* param, const floating* grad, floating* first,
                     floating* second, floating beta1, floating rest1, floating beta2, floating rest2,
                     floating step_size, floating root, floating eps, floating shrink,
                     floating weight_decay) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating p, g
    for i in range(start, stop):
        p = param[i] * shrink
        g = grad[i] + weight_decay * p if weight_decay != 0 else grad[i]
        first[i] = beta1 * first[i] + rest1 * g
        second[i] = beta2 * second[i] + rest2 * g * g
        param[i] = p - step_size * first[i] / (<floating>sqrt(second[i]) / root + eps)
