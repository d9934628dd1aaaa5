from cyconv._kernels.kernels_base import *  # noqa: F403
