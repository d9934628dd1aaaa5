import os
import sys

from setuptools import Extension, setup

import cyconv

# without OpenMP a prange is an ordinary loop
openmp = ["/openmp"] if os.name == "nt" else [] if sys.platform == "darwin" else ["-fopenmp"]

setup(
    ext_modules=[
        Extension(
            "filterbank._responses",
            ["src/filterbank/_responses.pyx"],
            include_dirs=[cyconv.get_include()],
            extra_compile_args=openmp,
            extra_link_args=[] if os.name == "nt" else openmp,
        )
    ]
)
