"""The compiled part of cyconv: the kernels once per instruction-set level, or nothing without a compiler.

CYCONV_NO_EXTENSIONS=1       builds the pure-Python package on purpose
CYCONV_REQUIRE_EXTENSIONS=1  fails where the kernels can't be compiled, instead of leaving them out
"""

import os
import platform
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools._distutils.ccompiler import new_compiler
from setuptools._distutils.errors import CompileError, DistutilsError, LinkError
from setuptools._distutils.sysconfig import customize_compiler, get_python_inc

KERNELS = Path("src/cyconv/_kernels")
X86_64 = platform.machine().lower() in ("x86_64", "amd64")
ABI3 = [("Py_LIMITED_API", "0x030B0000")]

PYTHON_PROBE = "#include <Python.h>\nint probe(void) { return PY_MAJOR_VERSION; }\n"
OPENMP_PROBE = "#include <omp.h>\nint probe(void) { return omp_get_max_threads(); }\n"


def say(text):
    print(f"cyconv: {text}", file=sys.stderr, flush=True)


def asked(variable):
    return os.environ.get(variable, "") not in ("", "0")


def compiles(source, compile_args=(), link_args=()):
    """Whether a shared library can be made from `source` with these options."""
    compiler = new_compiler()
    customize_compiler(compiler)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "probe.c")
        path.write_text(source)
        try:
            objects = compiler.compile(
                [str(path)],
                output_dir=folder,
                include_dirs=[get_python_inc()],
                extra_postargs=list(compile_args),
            )
            compiler.link_shared_object(
                objects,
                str(Path(folder, "probe.so")),
                extra_postargs=["-shared", *link_args]
                if compiler.compiler_type == "unix" and sys.platform != "darwin"
                else list(link_args),
                export_symbols=["probe"],
            )
        except (CompileError, LinkError, DistutilsError, OSError):
            return False
    return True


def openmp_options():
    """(compile, link) options that give OpenMP here: gcc and clang, Apple clang with libomp, MSVC."""
    libomp = next(
        (p for p in ("/opt/homebrew/opt/libomp", "/usr/local/opt/libomp") if Path(p).is_dir()), None
    )
    candidates = (
        [(["/openmp:llvm"], []), (["/openmp"], [])] if os.name == "nt" else [(["-fopenmp"], ["-fopenmp"])]
    )
    if sys.platform == "darwin":
        include, library = ([f"-I{libomp}/include"], [f"-L{libomp}/lib"]) if libomp else ([], [])
        candidates.append((["-Xpreprocessor", "-fopenmp", *include], [*library, "-lomp"]))
    for compile_args, link_args in candidates:
        if compiles(OPENMP_PROBE, compile_args, link_args):
            return compile_args, link_args
    say("no OpenMP found for this compiler: the kernels will run on one thread")
    return [], []


def levels():
    """Compile options of each instruction-set level that this platform and compiler have."""
    if os.name == "nt":
        options = {"base": [], "v3": ["/arch:AVX2"], "v4": ["/arch:AVX512"]}
    else:
        options = {
            "base": [],
            "v3": ["-march=x86-64-v3"],
            "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
        }
    if not X86_64:
        return {"base": []}
    return {name: args for name, args in options.items() if compiles(PYTHON_PROBE, args)}


def extensions():
    """The extension modules; none where there is no compiler, or none are wanted."""
    if asked("CYCONV_NO_EXTENSIONS"):
        say("CYCONV_NO_EXTENSIONS is set, pure-Python build")
        return []
    if not compiles(PYTHON_PROBE):
        if asked("CYCONV_REQUIRE_EXTENSIONS"):
            sys.exit(
                "cyconv: CYCONV_REQUIRE_EXTENSIONS is set, but no working C compiler with Python.h was found"
            )
        say("no C compiler, pure-Python build")
        return []
    from Cython.Build import cythonize

    openmp_compile, openmp_link = openmp_options()
    if os.name == "nt":
        compile_args, link_args = ["/O2", *openmp_compile], openmp_link
    else:
        # -fno-math-errno, -fno-trapping-math: vectorise compares and roots; neither changes a result
        flags = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
        compile_args, link_args = [*flags, *openmp_compile], list(openmp_link)
        if sys.platform.startswith("linux"):
            link_args.append("-Wl,-s")

    def extension(name, source, args=()):
        return Extension(
            f"cyconv._kernels.{name}",
            [str(KERNELS / source)],
            define_macros=ABI3,
            py_limited_api=True,
            extra_compile_args=[*compile_args, *args],
            extra_link_args=link_args,
            include_dirs=[str(KERNELS), "src/cyconv/include"],
        )

    modules = cythonize([extension("cpu", "cpu.pyx")], build_dir="build/cython", language_level=3)
    built = levels()
    for level, args in built.items():
        modules += cythonize(
            [extension(f"kernels_{level}", "kernels.pyx", args)],
            build_dir=f"build/cython/{level}",  # one C file each: the module's name is written into it
            include_path=["src"],
            language_level=3,
            compiler_directives={"embedsignature": False, "binding": True},
        )
    say(f"compiled kernels for {', '.join(built)}")
    return modules


modules = extensions()
setup(
    ext_modules=modules,
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if modules else {},
)
