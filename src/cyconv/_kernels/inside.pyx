# Where the taps of a window lie inside the image. Outputs are cut where the pixels of a tap begin or end: of each part a tap has
# all pixels inside, or none, and zeros are neither laid nor multiplied. Of a large dilation they are many: where it is a third
# of the image, 32 of 81 products are with zeros.


cdef struct Axis:
    # Outputs and pixels along one axis, without a stride: tap i of output y is pixel y + first + i * step.
    Py_ssize_t outputs, pixels, taps, first, step


cdef inline bint tap_inside(const Axis* a, Py_ssize_t tap, Py_ssize_t output) noexcept nogil:
    cdef Py_ssize_t pixel = output + a.first + tap * a.step
    return 0 <= pixel and pixel < a.pixels


cdef Py_ssize_t taps_at(const Axis* a, Py_ssize_t output) noexcept nogil:
    """How many taps of an output are inside the image."""
    cdef Py_ssize_t tap, count = 0
    for tap in range(a.taps):
        count += tap_inside(a, tap, output)
    return count


cdef double share_inside(const Axis* a) noexcept nogil:
    """Of the taps of all outputs."""
    cdef Py_ssize_t tap, pixel, count = 0
    for tap in range(a.taps):
        pixel = a.first + tap * a.step  # of output 0
        count += max(0, min(a.outputs, a.pixels - pixel) - max(0, -pixel))
    return <double>count / max(1, a.taps * a.outputs)


cdef Py_ssize_t past_same_taps(const Axis* a, Py_ssize_t output) noexcept nogil:
    """The first output after this one that has other taps inside; or the end."""
    cdef Py_ssize_t tap, begin, past = a.outputs
    for tap in range(a.taps):
        begin = -a.first - tap * a.step  # the output of its pixel 0
        if output < begin and begin < past:
            past = begin
        if output < begin + a.pixels and begin + a.pixels < past:
            past = begin + a.pixels
    return past


cdef Py_ssize_t parts_in(const Axis* a, Py_ssize_t most, Py_ssize_t* longest) noexcept nogil:
    """Parts of at most `most` outputs that have the same taps inside, and the outputs of the longest. With that as `most` they
    are the same: it is even_part of one run of outputs, and no other has a longer part."""
    cdef Py_ssize_t first = 0, past, count = 0
    longest[0] = 0
    while first < a.outputs:
        past = past_same_taps(a, first)
        count += ceil_div(past - first, most)
        longest[0] = max(longest[0], even_part(past - first, most))
        first = past
    return count


cdef void part_at(const Axis* a, Py_ssize_t most, Py_ssize_t part, Py_ssize_t* first, Py_ssize_t* count) noexcept nogil:
    """The first output of one of those parts, and how many it has."""
    cdef Py_ssize_t begin = 0, past = past_same_taps(a, 0), parts
    while part >= ceil_div(past - begin, most):
        part -= ceil_div(past - begin, most)
        begin = past
        past = past_same_taps(a, begin)
    parts = ceil_div(past - begin, most)
    first[0] = begin + (past - begin) * part // parts
    count[0] = begin + (past - begin) * (part + 1) // parts - first[0]


cdef Py_ssize_t lay_taps_inside(const Axis* down, const Axis* across, Py_ssize_t y, Py_ssize_t x, Py_ssize_t W, Py_ssize_t channels,
                                Py_ssize_t channel, Py_ssize_t* distance, Py_ssize_t* row) noexcept nogil:
    """The taps of output (y, x) that are inside the image, for each of some channels, `channel` apart and W pixels wide: distances
    of their pixels from the output's place, and which of all taps of the channels they are. Returns how many."""
    cdef Py_ssize_t c, i, j, k = 0
    for c in range(channels):
        for i in range(down.taps):
            for j in range(across.taps if tap_inside(down, i, y) else 0):
                if tap_inside(across, j, x):
                    distance[k] = c * channel + (down.first + i * down.step) * W + across.first + j * across.step
                    row[k] = (c * down.taps + i) * across.taps + j
                    k += 1
    return k
