# cython: language_level=3, boundscheck=False, wraparound=False
"""One task for each image: convolve, then pool the whole plane, in cyconv's kernels and without the GIL."""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdlib cimport calloc, free, malloc

from cyconv cimport capi

capi.import_cyconv()  # ImportError where the installed cyconv does not fit


cdef struct Image:
    const void* pixels
    Py_ssize_t H, W
    int status


def strongest_responses(list images, const floating[:, :, ::1] filters, floating[:, ::1] output, int threads):
    """output[i, f] = the largest value of images[i] under filters[f]."""
    cdef Py_ssize_t count = len(images), i
    cdef const floating[:, ::1] view
    cdef Image* tasks = <Image*>calloc(max(count, 1), sizeof(Image))
    if tasks == NULL:
        raise MemoryError
    try:
        for i in range(count):
            view = images[i]  # the list keeps the pixels alive
            tasks[i].pixels = &view[0, 0]
            tasks[i].H, tasks[i].W = view.shape[0], view.shape[1]
        for i in prange(count, num_threads=threads, schedule="dynamic", nogil=True):
            tasks[i].status = respond(&tasks[i], &filters[0, 0, 0], filters.shape[0], filters.shape[1],
                                      filters.shape[2], &output[i, 0])
        for i in range(count):
            if tasks[i].status != capi.OK:
                raise ValueError(f"image {i}, {tasks[i].H}x{tasks[i].W}: {capi.message(tasks[i].status).decode()}")
    finally:
        free(tasks)


cdef int respond(const Image* image, const floating* filters, Py_ssize_t F, Py_ssize_t kernel_h, Py_ssize_t kernel_w,
                 floating* strongest) noexcept nogil:
    cdef capi.Geometry convolution = capi.geometry(1, 1, image.H, image.W, F, kernel_h, kernel_w), pooling
    cdef Py_ssize_t H, W
    cdef int status = capi.output_size(&convolution, &H, &W)
    cdef floating* maps  # (F, H, W)
    if status != capi.OK:
        return status
    maps = <floating*>malloc(F * H * W * sizeof(floating))
    if maps == NULL:
        return capi.NO_MEMORY
    status = capi.conv2d_forward(&convolution, <const floating*>image.pixels, filters, NULL, maps)
    if status == capi.OK:
        pooling = capi.geometry(1, F, H, W, F, H, W)
        status = capi.max_pool2d_forward(&pooling, maps, strongest, NULL)
    free(maps)
    return status
