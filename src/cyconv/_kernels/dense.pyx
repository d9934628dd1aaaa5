# A convolution whose window is the whole image, unpadded: each filter has one output, so all three passes are one product with
# the images as rows. A fully connected layer as a convolution, LeNet's last, a 1x1 layer after global pooling.


cdef bint dense_applies(const Conv* conv) noexcept nogil:
    cdef const Window* w = &conv.window
    return (conv.groups == 1 and w.kernel_h == conv.H_in and w.kernel_w == conv.W_in
            and max(w.pad_top, w.pad_bottom, w.pad_left, w.pad_right) == 0
            and (CYCONV_PANELS or max(conv.N, conv.M, conv.K) <= INT_MAX))  # BLAS counts in int


cdef Product dense_product(const Conv* conv, int which, size_t itemsize) noexcept nogil:
    """output (N, M) = input (N, K) . weight^T; grad_input = grad_output . weight; grad_weight = grad_output^T . input."""
    cdef Product p
    memset(&p, 0, sizeof(Product))
    p.m, p.n, p.k, p.lda, p.ldb, p.transpose_b = conv.N, conv.M, conv.K, conv.K, conv.K, True
    if which == BACKWARD_INPUT:
        p.n, p.k, p.lda, p.transpose_b = conv.K, conv.M, conv.M, False
    elif which == BACKWARD_WEIGHT:
        p.m, p.n, p.k, p.lda, p.transpose_a, p.transpose_b = conv.M, conv.K, conv.N, conv.M, True, False
    p.threads = conv.threads
    divide_product(&p, itemsize)
    return p


cdef int dense(const Conv* conv, int which, const floating* a, const floating* b, const floating* bias, bint relu,
               floating* output) noexcept nogil:
    """One of the passes: a and b are its inputs, in their order. Returns 1, or NO_MEMORY."""
    cdef Product p = dense_product(conv, which, sizeof(floating))
    p.relu = relu
    return product(&p, a, b, bias, output) or 1
