# Sums over the images and positions of each channel, and batch normalisation.
#
# (N, C, plane) is cut into blocks that are fixed by its shape: a group of channels of some images, as long a run of
# memory as will do, or a piece of one plane. The sums of a block are kept apart, and added in the order of the blocks:
# same bits.

cdef Py_ssize_t RUN = 1 << 12  # elements in a row that a task reads at least, where planes are small


cdef struct Blocks:
    Py_ssize_t N, C, plane
    Py_ssize_t images, channels, piece  # of one block; more than one image or channel only of whole planes
    Py_ssize_t over_images, over_channels, over_plane  # how many blocks there are
    Py_ssize_t parts, tasks  # sums of a channel; all blocks
    int threads              # of the team


cdef Blocks blocks_of(const Py_ssize_t* shape) except *:
    cdef Blocks s  # of (N, C, H, W)
    s.N, s.C, s.plane = shape[0], shape[1], shape[2] * shape[3]
    s.piece = max(1, min(s.plane, CHUNK))
    s.channels = min(s.C, max(1, RUN // s.piece))
    s.images = max(1, min(s.N, CHUNK // (s.channels * s.piece)))
    s.over_images = ceil_div(s.N, s.images)
    s.over_channels = ceil_div(s.C, s.channels)
    s.over_plane = ceil_div(s.plane, s.piece)
    s.parts = s.over_images * s.over_plane
    s.tasks = s.parts * s.over_channels
    s.threads = team(<double>s.N * s.C * s.plane, s.tasks)
    return s


cdef struct Block:
    Py_ssize_t part  # which of the sums of a channel
    Py_ssize_t n, n_past, c, c_past, start, size


cdef Block block_of(const Blocks* s, Py_ssize_t task) noexcept nogil:
    cdef Block b
    b.part = task // s.over_channels
    b.c = task % s.over_channels * s.channels
    b.start = b.part % s.over_plane * s.piece
    b.n = b.part // s.over_plane * s.images
    b.n_past = min(s.N, b.n + s.images)
    b.c_past = min(s.C, b.c + s.channels)
    b.size = min(s.piece, s.plane - b.start)
    return b


# ---------------------------------------------------------------- gradient of a bias


def sum_channels(input, total):
    """total[c] = the sum of input over images and positions."""
    cdef Array x = array_in(input)   # (N, C, H, W)
    cdef Array y = array_out(total)  # (C,)
    cdef Blocks s = blocks_of(x.shape)
    cdef int status
    with nogil:
        if x.itemsize == sizeof(float):
            status = sum_blocks[float](&s, <float*>x.data, <float*>y.data)
        else:
            status = sum_blocks[double](&s, <double*>x.data, <double*>y.data)
    check_memory(status)


cdef int sum_blocks(const Blocks* s, const floating* input, floating* total) noexcept nogil:
    """0, or NO_MEMORY."""
    cdef Py_ssize_t c, p, t
    cdef double sum
    cdef double* sums = <double*>cyconv_acquire(s.parts * s.C * sizeof(double))
    if sums == NULL:
        return NO_MEMORY
    if s.tasks == 1:
        sum_block(s, 0, input, sums)
    else:
        for t in prange(s.tasks, num_threads=s.threads):
            sum_block(s, t, input, sums)
    for c in range(s.C):
        sum = 0
        for p in range(s.parts):
            sum += sums[p * s.C + c]
        total[c] = <floating>sum
    cyconv_release(sums)
    return 0


cdef void sum_block(const Blocks* s, Py_ssize_t task, const floating* input, double* sums) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    cdef Block b = block_of(s, task)
    cdef Py_ssize_t n
    sums += b.part * s.C
    memset(sums + b.c, 0, (b.c_past - b.c) * sizeof(double))
    for n in range(b.n, b.n_past):
        add_sums(s, &b, input + n * s.C * s.plane, <const floating*>NULL, sums)
    restore_denormals(control)


cdef inline void add_sums(const Blocks* s, const Block* b, const floating* image, const floating* first,
                          double* sums) noexcept nogil:
    """sums[c] += the sum of a channel's run in one image, or of its differences to the channel's start in `first`."""
    cdef Py_ssize_t c
    if s.plane == 1:  # a vector of channels
        for c in range(b.c, b.c_past):
            sums[c] += image[c] - first[c] if first != NULL else image[c]
        return
    for c in range(b.c, b.c_past):
        sums[c] += sum_run(image + c * s.plane + b.start, first[c * s.plane] if first != NULL else 0, b.size)


# ---------------------------------------------------------------- batch normalisation


def batch_norm_statistics(input, mean, var):
    """Mean and (biased) variance of each channel over images and positions."""
    cdef Array x = array_in(input)  # (N, C, H, W), not empty
    cdef Array m = array_out(mean)  # (C,)
    cdef Array v = array_out(var)   # (C,)
    cdef Blocks s = blocks_of(x.shape)
    cdef int status
    with nogil:
        if x.itemsize == sizeof(float):
            status = norm_statistics[float](&s, <float*>x.data, <float*>m.data, <float*>v.data)
        else:
            status = norm_statistics[double](&s, <double*>x.data, <double*>m.data, <double*>v.data)
    check_memory(status)


cdef int norm_statistics(const Blocks* s, const floating* input, floating* mean, floating* var) noexcept nogil:
    """0, or NO_MEMORY."""
    cdef Py_ssize_t c, t
    cdef double* means = <double*>cyconv_acquire(2 * s.parts * s.C * sizeof(double))
    if means == NULL:
        return NO_MEMORY
    cdef double* squares = means + s.parts * s.C
    if s.tasks == 1:
        statistics_block(s, 0, input, means, squares)
    else:
        for t in prange(s.tasks, num_threads=s.threads):
            statistics_block(s, t, input, means, squares)
    for c in range(s.C):
        channel_statistics(s, c, input[c * s.plane], means, squares, mean, var)
    cyconv_release(means)
    return 0


cdef void statistics_block(const Blocks* s, Py_ssize_t task, const floating* input, double* means,
                           double* squares) noexcept nogil:
    """Mean of the block, less the channel's first value, and sum of squares about the mean.

    Taking off any value of the channel keeps a mean that is large beside the deviations from rounding them away.
    The block is read twice, the second time from cache.
    """
    cdef uint64_t control = flush_denormals()
    cdef Block b = block_of(s, task)
    cdef Py_ssize_t n, c
    means += b.part * s.C
    squares += b.part * s.C
    for c in range(b.c, b.c_past):
        means[c] = squares[c] = 0
    for n in range(b.n, b.n_past):
        add_sums(s, &b, input + n * s.C * s.plane, input, means)
    for c in range(b.c, b.c_past):
        means[c] /= (b.n_past - b.n) * b.size
    for n in range(b.n, b.n_past):
        add_squares(s, &b, input + n * s.C * s.plane, input, means, squares)
    restore_denormals(control)


cdef inline void add_squares(const Blocks* s, const Block* b, const floating* image, const floating* first,
                             const double* means, double* squares) noexcept nogil:
    """squares[c] += the sum of (x - mean)^2 along a channel's run in one image."""
    cdef Py_ssize_t c
    cdef floating mean
    if s.plane == 1:
        for c in range(b.c, b.c_past):
            mean = <floating>(first[c] + means[c])
            squares[c] += (image[c] - mean) * (image[c] - mean)
        return
    for c in range(b.c, b.c_past):
        mean = <floating>(first[c * s.plane] + means[c])
        squares[c] += sum_squares(image + c * s.plane + b.start, mean, b.size)


cdef void channel_statistics(const Blocks* s, Py_ssize_t c, floating first, const double* means,
                             const double* squares, floating* mean, floating* var) noexcept nogil:
    # sum over all of (x - mean)^2 = sum over blocks of squares + size (block mean - mean)^2: no cancellation
    cdef Py_ssize_t p
    cdef double total = 0, sum = 0, size
    cdef double count = <double>s.N * s.plane
    for p in range(s.parts):
        total += means[p * s.C + c] * part_size(s, p)
    total /= count
    for p in range(s.parts):
        size = part_size(s, p)
        sum += squares[p * s.C + c] + size * (means[p * s.C + c] - total) * (means[p * s.C + c] - total)
    mean[c] = <floating>(first + total)
    var[c] = <floating>(sum / count)


cdef inline double part_size(const Blocks* s, Py_ssize_t part) noexcept nogil:
    """Elements of one channel in a block."""
    cdef Py_ssize_t n = part // s.over_plane * s.images
    return <double>(min(s.N, n + s.images) - n) * min(s.piece, s.plane - part % s.over_plane * s.piece)


def batch_norm_forward(input, mean, scale, bias, output):
    """output = (input - mean) * scale + bias, channel by channel."""
    cdef Array x = array_in(input)       # (N, C, H, W)
    cdef Array shift = array_in(mean)    # (C,)
    cdef Array factor = array_in(scale)  # (C,)
    cdef Array offset = array_in(bias)   # (C,)
    cdef Array y = array_out(output)     # like input
    cdef Blocks s = blocks_of(x.shape)
    with nogil:
        if x.itemsize == sizeof(float):
            norm_forward[float](&s, <float*>x.data, <float*>shift.data, <float*>factor.data, <float*>offset.data,
                                <float*>y.data)
        else:
            norm_forward[double](&s, <double*>x.data, <double*>shift.data, <double*>factor.data, <double*>offset.data,
                                 <double*>y.data)


cdef void norm_forward(const Blocks* s, const floating* input, const floating* mean, const floating* scale,
                       const floating* bias, floating* output) noexcept nogil:
    cdef Py_ssize_t t
    if s.tasks == 1:
        norm_block(s, 0, input, mean, scale, bias, output)
    else:
        for t in prange(s.tasks, num_threads=s.threads):
            norm_block(s, t, input, mean, scale, bias, output)


cdef void norm_block(const Blocks* s, Py_ssize_t task, const floating* input, const floating* mean,
                     const floating* scale, const floating* bias, floating* output) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    cdef Block b = block_of(s, task)
    cdef Py_ssize_t n, c, run
    for n in range(b.n, b.n_past):
        if s.plane == 1:
            run = n * s.C
            for c in range(b.c, b.c_past):
                output[run + c] = (input[run + c] - mean[c]) * scale[c] + bias[c]
            continue
        for c in range(b.c, b.c_past):
            run = (n * s.C + c) * s.plane + b.start
            norm_run(input + run, b.size, mean[c], scale[c], bias[c], output + run)
    restore_denormals(control)


cdef void norm_run(const floating* input, Py_ssize_t size, floating mean, floating scale, floating bias,
                   floating* output) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        output[i] = (input[i] - mean) * scale + bias


def batch_norm_backward(grad_output, input, mean, inverse, weight, grad_input, grad_weight, grad_bias):
    """Gradients of (input - mean) * inverse * weight + bias, where mean and inverse are those of the input.

    grad_bias = sum of grad_output; grad_weight = sum of grad_output * normalised; and, unless it is None,
    grad_input = inverse * weight * (grad_output - grad_bias/count - normalised * grad_weight/count).
    """
    cdef Array dy = array_in(grad_output)   # (N, C, H, W)
    cdef Array x = array_in(input)          # (N, C, H, W)
    cdef Array shift = array_in(mean)       # (C,)
    cdef Array scale = array_in(inverse)    # (C,)
    cdef Array w = array_in(weight)         # (C,)
    cdef Array dx = array_out(grad_input)   # (N, C, H, W), or None
    cdef Array dw = array_out(grad_weight)  # (C,)
    cdef Array db = array_out(grad_bias)    # (C,)
    cdef Blocks s = blocks_of(x.shape)
    cdef int status
    with nogil:
        if x.itemsize == sizeof(float):
            status = norm_backward[float](&s, <float*>dy.data, <float*>x.data, <float*>shift.data, <float*>scale.data,
                                          <float*>w.data, <float*>dx.data, <float*>dw.data, <float*>db.data)
        else:
            status = norm_backward[double](&s, <double*>dy.data, <double*>x.data, <double*>shift.data,
                                           <double*>scale.data, <double*>w.data, <double*>dx.data, <double*>dw.data,
                                           <double*>db.data)
    check_memory(status)


cdef int norm_backward(const Blocks* s, const floating* grad_output, const floating* input, const floating* mean,
                       const floating* inverse, const floating* weight, floating* grad_input, floating* grad_weight,
                       floating* grad_bias) noexcept nogil:
    """0, or NO_MEMORY. `grad_input` may be NULL."""
    cdef Py_ssize_t c, t
    if s.parts == 0:  # no images
        memset(grad_weight, 0, s.C * sizeof(floating))
        memset(grad_bias, 0, s.C * sizeof(floating))
        return 0
    cdef double* sums = <double*>cyconv_acquire(2 * s.parts * s.C * sizeof(double))
    if sums == NULL:
        return NO_MEMORY
    cdef double* products = sums + s.parts * s.C
    if s.tasks == 1:
        products_block(s, 0, grad_output, input, mean, sums, products)
    else:
        for t in prange(s.tasks, num_threads=s.threads):
            products_block(s, t, grad_output, input, mean, sums, products)
    for c in range(s.C):
        channel_gradients(s, c, inverse[c], sums, products, grad_weight, grad_bias)
    if grad_input == NULL:
        pass
    elif s.tasks == 1:
        norm_backward_block(s, 0, grad_output, input, mean, inverse, weight, sums, products, grad_input)
    else:
        for t in prange(s.tasks, num_threads=s.threads):
            norm_backward_block(s, t, grad_output, input, mean, inverse, weight, sums, products, grad_input)
    cyconv_release(sums)
    return 0


cdef void channel_gradients(const Blocks* s, Py_ssize_t c, floating inverse, double* sums, double* products,
                            floating* grad_weight, floating* grad_bias) noexcept nogil:
    cdef double sum = 0, product = 0, count = <double>s.N * s.plane
    cdef Py_ssize_t p
    for p in range(s.parts):
        sum += sums[p * s.C + c]
        product += products[p * s.C + c]
    grad_bias[c] = <floating>sum
    grad_weight[c] = <floating>(product * inverse)
    # from here on the first part's place holds what is taken off: grad_bias / count, and the factor of x - mean
    sums[c] = sum / count
    products[c] = product * inverse * inverse / count


cdef void products_block(const Blocks* s, Py_ssize_t task, const floating* grad_output, const floating* input,
                         const floating* mean, double* sums, double* products) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    cdef Block b = block_of(s, task)
    cdef Py_ssize_t n, c
    sums += b.part * s.C
    products += b.part * s.C
    for c in range(b.c, b.c_past):
        sums[c] = products[c] = 0
    for n in range(b.n, b.n_past):
        add_products(s, &b, grad_output + n * s.C * s.plane, input + n * s.C * s.plane, mean, sums, products)
    restore_denormals(control)


cdef inline void add_products(const Blocks* s, const Block* b, const floating* grad, const floating* image,
                              const floating* mean, double* sums, double* products) noexcept nogil:
    """sums[c] += the sum of grad, products[c] += that of grad (x - mean), along a channel's run in one image."""
    cdef Py_ssize_t c, run
    if s.plane == 1:
        for c in range(b.c, b.c_past):
            sums[c] += grad[c]
            products[c] += grad[c] * (image[c] - mean[c])
        return
    for c in range(b.c, b.c_past):
        run = c * s.plane + b.start
        sums[c] += sum_products(grad + run, image + run, mean[c], b.size, &products[c])


cdef void norm_backward_block(const Blocks* s, Py_ssize_t task, const floating* grad_output, const floating* input,
                              const floating* mean, const floating* inverse, const floating* weight,
                              const double* mean_grad, const double* slope, floating* grad_input) noexcept nogil:
    cdef uint64_t control = flush_denormals()
    cdef Block b = block_of(s, task)
    cdef Py_ssize_t n, c, run
    for n in range(b.n, b.n_past):
        if s.plane == 1:
            run = n * s.C
            for c in range(b.c, b.c_past):
                grad_input[run + c] = (grad_output[run + c] - <floating>mean_grad[c]
                                       - (input[run + c] - mean[c]) * <floating>slope[c]) * (inverse[c] * weight[c])
            continue
        for c in range(b.c, b.c_past):
            run = (n * s.C + c) * s.plane + b.start
            norm_backward_run(grad_output + run, input + run, b.size, mean[c], <floating>mean_grad[c],
                              <floating>slope[c], inverse[c] * weight[c], grad_input + run)
    restore_denormals(control)


cdef void norm_backward_run(const floating* grad_output, const floating* input, Py_ssize_t size, floating mean,
                            floating mean_grad, floating slope, floating scale, floating* grad_input) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        grad_input[i] = (grad_output[i] - mean_grad - (input[i] - mean) * slope) * scale
