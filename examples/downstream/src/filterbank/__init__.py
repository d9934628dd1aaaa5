"""The strongest response of every filter in images of any sizes."""

import numpy as np

import cyconv

from ._responses import strongest_responses

__all__ = ["strongest"]


def strongest(images, filters, threads=None):
    """The largest value of each image's cross-correlation with each filter.

    Parameters
    ----------
    images : list of ndarray, (H, W) each
    filters : ndarray, (F, kernel_h, kernel_w)
        float32 or float64; the images are converted to its dtype.
    threads : int, optional
        Images at once; those that cyconv would use where not given.

    Returns
    -------
    ndarray, (len(images), F)
    """
    filters = np.ascontiguousarray(filters)
    images = [np.ascontiguousarray(image, filters.dtype) for image in images]
    output = np.empty((len(images), len(filters)), filters.dtype)
    strongest_responses(images, filters, output, threads or cyconv.get_num_threads())
    return output
