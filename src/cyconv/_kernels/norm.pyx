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


cdef Blocks blocks_of(const Py_ssize_t* shape) noexcept nogil:
    cdef Blocks s
    s.N, s.C, s.plane = shape[0], shape[1], shape[2] * shape[3]
    s.piece = max(1, min(s.plane, CHUNK))
    s.channels = min(s.C, max(1, RUN // s.piece))
    s.images = max(1, min(s.N, CHUNK // (s.channels * s.piece)))
    s.over_images = ceil_div(s.N, s.images)
    s.over_channels = ceil_div(s.C, s.channels)
    s.over_plane = ceil_div(s.plane, s.piece)
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


cdef inline Py_ssize_t block_tasks(const Blocks* s) noexcept nogil:
    return s.over_images * s.over_channels * s.over_plane


cdef int block_team(const Blocks* s):
    return team(<double>s.N * s.C * s.plane, block_tasks(s))


# ---------------------------------------------------------------- gradient of a bias


def sum_channels(input, total):
    """total[c] = the sum of input over images and positions."""
    if input.itemsize == sizeof(float):
        sum_blocks[float](input, total)
    else:
        sum_blocks[double](input, total)


cdef int sum_blocks(const floating[:, :, :, ::1] input,  # IN (N, C, H, W)
                    floating[::1] total,                 # OUT (C,)
                    ) except -1:
    cdef Blocks s = blocks_of(input.shape)
    cdef Py_ssize_t parts = s.over_images * s.over_plane, c, p, t
    cdef int threads = block_team(&s)
    cdef uint64_t control = 0
    cdef double sum
    cdef double* sums = <double*>acquire(parts * s.C * sizeof(double))
    with nogil, parallel(num_threads=threads):
        control = flush_denormals()
        for t in prange(block_tasks(&s)):
            sum_block(&s, t, &input[0, 0, 0, 0], sums)
        restore_denormals(control)
    for c in range(s.C):
        sum = 0
        for p in range(parts):
            sum += sums[p * s.C + c]
        total[c] = <floating>sum
    cyconv_release(sums)
    return 0


cdef void sum_block(const Blocks* s, Py_ssize_t task, const floating* input, double* sums) noexcept nogil:
    cdef Block b = block_of(s, task)
    cdef Py_ssize_t n
    sums += b.part * s.C
    memset(sums + b.c, 0, (b.c_past - b.c) * sizeof(double))
    for n in range(b.n, b.n_past):
        add_sums(s, &b, input + n * s.C * s.plane, <const floating*>NULL, sums)


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
    if input.itemsize == sizeof(float):
        norm_statistics[float](input, mean, var)
    else:
        norm_statistics[double](input, mean, var)


cdef int norm_statistics(const floating[:, :, :, ::1] input,  # IN (N, C, H, W), not empty
                         floating[::1] mean,                  # OUT (C,)
                         floating[::1] var,                   # OUT (C,)
                         ) except -1:
    cdef Blocks s = blocks_of(input.shape)
    cdef Py_ssize_t parts = s.over_images * s.over_plane, c, t
    cdef int threads = block_team(&s)
    cdef uint64_t control = 0
    cdef double* sums = <double*>acquire(2 * parts * s.C * sizeof(double))
    with nogil, parallel(num_threads=threads):
        control = flush_denormals()
        for t in prange(block_tasks(&s)):
            statistics_block(&s, t, &input[0, 0, 0, 0], sums, sums + parts * s.C)
        restore_denormals(control)
    for c in range(s.C):
        channel_statistics(&s, c, input[0, c, 0, 0], sums, sums + parts * s.C, &mean[0], &var[0])
    cyconv_release(sums)
    return 0


cdef void statistics_block(const Blocks* s, Py_ssize_t task, const floating* input, double* means,
                           double* squares) noexcept nogil:
    """Mean of the block, less the channel's first value, and sum of squares about the mean.

    Taking off any value of the channel keeps a mean that is large beside the deviations from rounding them away.
    The block is read twice, the second time from cache.
    """
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
    cdef Py_ssize_t parts = s.over_images * s.over_plane, p
    cdef double total = 0, sum = 0, size
    cdef double count = <double>s.N * s.plane
    for p in range(parts):
        total += means[p * s.C + c] * part_size(s, p)
    total /= count
    for p in range(parts):
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
    if input.itemsize == sizeof(float):
        norm_forward[float](input, mean, scale, bias, output)
    else:
        norm_forward[double](input, mean, scale, bias, output)


cdef int norm_forward(const floating[:, :, :, ::1] input,  # IN (N, C, H, W)
                      const floating[::1] mean,            # IN (C,)
                      const floating[::1] scale,           # IN (C,)
                      const floating[::1] bias,            # IN (C,)
                      floating[:, :, :, ::1] output,       # OUT like input
                      ) except -1:
    cdef Blocks s = blocks_of(input.shape)
    cdef Py_ssize_t t
    cdef int threads = block_team(&s)
    cdef uint64_t control = 0
    with nogil, parallel(num_threads=threads):
        control = flush_denormals()
        for t in prange(block_tasks(&s)):
            norm_block(&s, t, &input[0, 0, 0, 0], &mean[0], &scale[0], &bias[0], &output[0, 0, 0, 0])
        restore_denormals(control)
    return 0


cdef void norm_block(const Blocks* s, Py_ssize_t task, const floating* input, const floating* mean,
                     const floating* scale, const floating* bias, floating* output) noexcept nogil:
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
    if input.itemsize == sizeof(float):
        norm_backward[float](grad_output, input, mean, inverse, weight, grad_input, grad_weight, grad_bias)
    else:
        norm_backward[double](grad_output, input, mean, inverse, weight, grad_input, grad_weight, grad_bias)


cdef int norm_backward(const floating[:, :, :, ::1] grad_output,  # IN (N, C, H, W)
                       const floating[:, :, :, ::1] input,        # IN like grad_output
                       const floating[::1] mean,                  # IN (C,)
                       const floating[::1] inverse,               # IN (C,)
                       const floating[::1] weight,                # IN (C,)
                       floating[:, :, :, ::1] grad_input,         # OUT like input, or None
                       floating[::1] grad_weight,                 # OUT (C,)
                       floating[::1] grad_bias,                   # OUT (C,)
                       ) except -1:
    cdef Blocks s = blocks_of(input.shape)
    cdef Py_ssize_t parts = s.over_images * s.over_plane, c, p, t
    cdef int threads = block_team(&s)
    cdef uint64_t control = 0
    cdef double sum, product, count = <double>s.N * s.plane
    if parts == 0:
        grad_weight[:] = 0
        grad_bias[:] = 0
        return 0
    cdef double* sums = <double*>acquire(2 * parts * s.C * sizeof(double))
    cdef double* products = sums + parts * s.C
    with nogil, parallel(num_threads=threads):
        control = flush_denormals()
        for t in prange(block_tasks(&s)):
            products_block(&s, t, &grad_output[0, 0, 0, 0], &input[0, 0, 0, 0], &mean[0], sums, products)
        restore_denormals(control)
    for c in range(s.C):
        sum = product = 0
        for p in range(parts):
            sum += sums[p * s.C + c]
            product += products[p * s.C + c]
        grad_bias[c] = <floating>sum
        grad_weight[c] = <floating>(product * inverse[c])
        # from here on the first part's place holds what is taken off: grad_bias / count, and the factor of x - mean
        sums[c] = sum / count
        products[c] = product * inverse[c] * inverse[c] / count
    if grad_input is not None:
        with nogil, parallel(num_threads=threads):
            control = flush_denormals()
            for t in prange(block_tasks(&s)):
                norm_backward_block(&s, t, &grad_output[0, 0, 0, 0], &input[0, 0, 0, 0], &mean[0], &inverse[0],
                                    &weight[0], sums, products, &grad_input[0, 0, 0, 0])
            restore_denormals(control)
    cyconv_release(sums)
    return 0


cdef void products_block(const Blocks* s, Py_ssize_t task, const floating* grad_output, const floating* input,
                         const floating* mean, double* sums, double* products) noexcept nogil:
    cdef Block b = block_of(s, task)
    cdef Py_ssize_t n, c
    sums += b.part * s.C
    products += b.part * s.C
    for c in range(b.c, b.c_past):
        sums[c] = products[c] = 0
    for n in range(b.n, b.n_past):
        add_products(s, &b, grad_output + n * s.C * s.plane, input + n * s.C * s.plane, mean, sums, products)


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


cdef void norm_backward_run(const floating* grad_output, const floating* input, Py_ssize_t size, floating mean,
                            floating mean_grad, floating slope, floating scale, floating* grad_input) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        grad_input[i] = (grad_output[i] - mean_grad - (input[i] - mean) * slope) * scale
