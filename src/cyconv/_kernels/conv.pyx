# The sizes of one convolution, pooling or im2col.

cdef struct Conv:
    # Sizes of one convolution, pooling or im2col; C, M and K are those of one group.
    Py_ssize_t N, C_in, H_in, W_in, C_out, H_out, W_out, groups
    Py_ssize_t C, M, K      # input channels, output channels, taps C*kernel_h*kernel_w
    Py_ssize_t L            # output positions H_out*W_out
    bint pointwise          # 1x1, stride 1, unpadded: the image is its own columns
    Window window
    int threads             # at most


cdef Conv conv_sizes(const Py_ssize_t* image, const Py_ssize_t* output, Window window, Py_ssize_t groups) except *:
    """Sizes from the shapes on the input's side and on the output's."""
    cdef Conv conv
    conv.N, conv.C_in, conv.H_in, conv.W_in = image[0], image[1], image[2], image[3]
    conv.C_out, conv.H_out, conv.W_out = output[1], output[2], output[3]
    conv.groups = groups
    conv.window = window
    conv.threads = _threads.get_num_threads()
    derive(&conv)
    return conv


cdef void derive(Conv* conv) noexcept nogil:
    """The sizes that follow from the others."""
    cdef const Window* window = &conv.window
    conv.C = conv.C_in // conv.groups
    conv.M = conv.C_out // conv.groups
    conv.K = conv.C * window.kernel_h * window.kernel_w
    conv.L = conv.H_out * conv.W_out
    conv.pointwise = (window.kernel_h == 1 and window.kernel_w == 1 and window.stride_h == 1
                   and window.stride_w == 1 and conv.H_in == conv.H_out and conv.W_in == conv.W_out
                   and window.pad_top == 0 and window.pad_left == 0)


cdef inline double multiply_adds(const Conv* conv) noexcept nogil:
    return <double>conv.N * conv.C_out * conv.K * conv.L


cdef int plane_team(const Conv* conv) noexcept nogil:
    """The team that divides the planes of the images, for what a window does in one plane: each pixel moves, and each tap adds."""
    cdef Py_ssize_t planes = conv.N * conv.C_in
    cdef double taps = <double>conv.L * conv.window.kernel_h * conv.window.kernel_w
    return team_of(conv.threads, planes * (10.0 * conv.H_in * conv.W_in + taps), planes)


cdef void divide(Py_ssize_t size, Py_ssize_t wanted, Py_ssize_t least, Py_ssize_t* block,
                 Py_ssize_t* blocks) noexcept nogil:
    """Divide `size` into about `wanted` blocks, none smaller than `least`."""
    blocks[0] = max(1, min(wanted, size // max(1, least)))
    block[0] = ceil_div(size, blocks[0])
    blocks[0] = ceil_div(size, block[0])


cdef inline Py_ssize_t even_part(Py_ssize_t size, Py_ssize_t most) noexcept nogil:
    # Of equal parts of at most `most`.
    return ceil_div(size, ceil_div(size, most))


cdef inline Py_ssize_t digit(Py_ssize_t* task, Py_ssize_t count) noexcept nogil:
    """Which of `count` parts a task is; takes that digit off its number."""
    cdef Py_ssize_t part = task[0] % count
    task[0] //= count
    return part
