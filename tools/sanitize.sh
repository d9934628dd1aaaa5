#!/usr/bin/env bash
# The suite over kernels built with AddressSanitizer and UndefinedBehaviorSanitizer, on Linux:
#
#   tools/sanitize.sh                          build, and run all tests
#   tools/sanitize.sh tests/test_out.py -k 1x1 build, and run pytest with these arguments
#   BUILD=0 tools/sanitize.sh ...              with what is built already
#   FUZZ=10000 tools/sanitize.sh               run so many calls of tests/fuzz.py (LEVEL: the best) instead
#   CC=clang tools/sanitize.sh                 with clang
#
# Needs the sanitizers' runtime libraries of the compiler, and the packages that build and test cyconv. Everything
# happens in build/sanitize, to which the sources are copied. What a sanitizer finds is printed, and the exit
# status is 1. Left out are tests that measure memory, which the sanitizers need themselves, and torch.
set -euo pipefail
cd "$(dirname "$0")/.."
cc=${CC:-gcc} python=${PYTHON:-python} place=$PWD/build/sanitize

if [ "${BUILD:-1}" = 1 ]; then
    mkdir -p "$place"
    rm -rf "$place/src" "$place/tests"
    tar -c --exclude='*.so' --exclude=__pycache__ setup.py pyproject.toml README.md LICENSE src tests | tar -x -C "$place"
    # the project's options, but with names and lines, and without levels that this processor can't run
    cat > "$place/cc" <<END
#!/usr/bin/env bash
for argument in "\$@"; do
    case \$argument in
        -march=x86-64-v4) grep -q avx512f /proc/cpuinfo || exit 1 ;;&
        -g0 | -O3 | -Wl,-s) ;;
        *) arguments+=("\$argument") ;;
    esac
done
exec $cc "\${arguments[@]}" -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined
END
    chmod +x "$place/cc"
    (cd "$place" && CC="$place/cc" LDSHARED="$place/cc -shared" CYCONV_REQUIRE_EXTENSIONS=1 \
        ASAN_OPTIONS=detect_leaks=0 "$python" setup.py -q build_ext --inplace > build.log 2>&1) ||
        { tail -20 "$place/build.log"; exit 1; }
    grep cyconv: "$place/build.log"
fi

if "$cc" --version | grep -q clang; then
    runtime=$("$cc" -print-file-name="libclang_rt.asan-$(uname -m).so")
else
    runtime="$("$cc" -print-file-name=libasan.so) $("$cc" -print-file-name=libubsan.so)"
fi
[ -e "${runtime%% *}" ] || { echo "no runtime library of the sanitizers for $cc: ${runtime%% *}"; exit 1; }
export LD_PRELOAD="$runtime $(gcc -print-file-name=libstdc++.so.6)" # which must know C++ exceptions from the start
rm -f "$place"/report.*
export ASAN_OPTIONS=detect_leaks=0,allocator_may_return_null=1,detect_stack_use_after_return=0,log_path=$place/report.address
export UBSAN_OPTIONS=print_stacktrace=1,log_path=$place/report.undefined
export PYTHONPATH=$place/src PYTHONMALLOC=malloc CYCONV_BACKEND=cython
cd "$place"
status=0
if [ -n "${FUZZ:-}" ]; then
    "$python" tests/fuzz.py --calls "$FUZZ" ${LEVEL:+--level "$LEVEL"} || status=$?
else
    "$python" -m pytest -p no:cacheprovider -k "not torch and not neighbours and not growth and not peak" "$@" || status=$?
fi
unset LD_PRELOAD
if compgen -G "$place/report.*" > /dev/null; then
    cat "$place"/report.*
    exit 1
fi
echo "sanitizers: no report, exit status $status"
exit "$status"
