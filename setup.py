"""The compiled part of cyconv: the kernels once per instruction-set level, or nothing without a compiler.

CYCONV_NO_EXTENSIONS=1       builds the pure-Python package on purpose
CYCONV_REQUIRE_EXTENSIONS=1  fails where the kernels can't be compiled, instead of leaving them out
SOURCE_DATE_EPOCH=seconds    dates everything in sdist and wheel, so that two builds give the same bytes
"""

import gzip
import os
import platform
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools._distutils.ccompiler import new_compiler
from setuptools._distutils.errors import CompileError, DistutilsError, LinkError
from setuptools._distutils.sysconfig import customize_compiler, get_python_inc
from setuptools.command.sdist import sdist

KERNELS = Path("src/cyconv/_kernels")
X86_64 = platform.machine().lower() in ("x86_64", "amd64")
# A free-threaded interpreter has no stable ABI before 3.15 (PEP 803): its wheel is for its version alone.
ABI3 = not sysconfig.get_config_var("Py_GIL_DISABLED")

DIRECTIVES = {"language_level": 3, "freethreading_compatible": True, "autotestdict": False}

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
    # /openmp:llvm would need libomp140, which Visual Studio keeps among what may not be redistributed
    candidates = [(["/openmp"], [])] if os.name == "nt" else [(["-fopenmp"], ["-fopenmp"])]
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
        rows = "-fno-tree-loop-distribute-patterns"  # gcc: copies of a row stay loops, not calls of memmove
        flags += [rows] if compiles(PYTHON_PROBE, [rows]) else []
        compile_args, link_args = [*flags, *openmp_compile], list(openmp_link)
        if sys.platform.startswith("linux"):
            link_args.append("-Wl,-s")

    def extension(name, source, args=()):
        return Extension(
            f"cyconv._kernels.{name}",
            [str(KERNELS / source)],
            define_macros=[("Py_LIMITED_API", "0x030B0000")] if ABI3 else [],
            py_limited_api=ABI3,
            extra_compile_args=[*compile_args, *args],
            extra_link_args=link_args,
            include_dirs=[str(KERNELS), "src/cyconv/include"],
        )

    modules = cythonize(
        [extension("cpu", "cpu.pyx")], build_dir="build/cython", compiler_directives=DIRECTIVES
    )
    built = levels()
    for level, args in built.items():
        modules += cythonize(
            [extension(f"kernels_{level}", "kernels.pyx", args)],
            build_dir=f"build/cython/{level}",  # one C file each: the module's name is written into it
            include_path=["src"],
            compiler_directives={**DIRECTIVES, "embedsignature": False, "binding": True},
        )
    say(f"compiled kernels for {', '.join(built)}")
    return modules


class ReproducibleSdist(sdist):
    """An sdist whose members have one date, one owner and one of two modes, as wheels have already."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, owner=None, group=None):
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        if epoch is None or format != "gztar":
            return super().make_archive(base_name, format, root_dir, base_dir, owner, group)

        def plain(member):
            member.mtime, member.mode = int(epoch), 0o755 if member.mode & 0o100 else 0o644
            member.uid, member.gid, member.uname, member.gname = 0, 0, "", ""
            return member

        path = f"{base_name}.tar.gz"
        with (
            open(path, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=int(epoch)) as stream,
            tarfile.open(fileobj=stream, mode="w") as archive,
        ):
            archive.add(base_dir, filter=plain)  # in sorted order
        return path


modules = extensions()
setup(
    ext_modules=modules,
    cmdclass={"sdist": ReproducibleSdist},
    options={
        "build_ext": {"parallel": True},  # the levels at once, as many as there are cores
        **({"bdist_wheel": {"py_limited_api": "cp311"}} if modules and ABI3 else {}),
    },
)
