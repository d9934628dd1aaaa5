#!/usr/bin/env bash
# The suite over kernels built with AddressSanitizer and UndefinedBehaviorSanitizer, on Linux:
#
#   tools/sanitize.sh                          build, and run all tests, a file at a time
#   tools/sanitize.sh tests/test_out.py -k 1x1 build, and run pytest with these arguments
#   BUILD=0 tools/sanitize.sh ...              with what is built already
#   FUZZ=10000 tools/sanitize.sh               run so many calls of tests/fuzz.py (LEVEL: this one alone) instead
#   CC=clang tools/sanitize.sh                 with clang
#   LIMIT=900                                  seconds that a file, or the fuzz, may take
#
# Needs the sanitizers' runtime libraries of the compiler, and the packages that build and test cyconv. Everything
# happens in build/sanitize-$CC, to which the sources are copied. It begins with two errors that it must find. What a
# sanitizer finds later is printed, and the exit status is 1. Left out are tests that measure memory, which the
# sanitizers need themselves, and torch.
set -euo pipefail
cd "$(dirname "$0")/.."
cc=${CC:-gcc} python=${PYTHON:-python} limit=${LIMIT:-900} place=$PWD/build/sanitize-${CC:-gcc}
mkdir -p "$place"

if [ "${BUILD:-1}" = 1 ]; then
    rm -rf "${place:?}"/{src,tests,build}  # or setuptools would keep what it takes for new enough
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
exec $cc "\${arguments[@]}" -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
END
    chmod +x "$place/cc"
    (cd "$place" && CC="$place/cc" LDSHARED="$place/cc -shared" CYCONV_REQUIRE_EXTENSIONS=1 \
        ASAN_OPTIONS=detect_leaks=0 "$python" setup.py -q build_ext --inplace > build.log 2>&1) ||
        { tail -20 "$place/build.log"; exit 1; }
    grep cyconv: "$place/build.log"
fi
"$place/cc" -shared -fPIC -o "$place/planted.so" -xc - <<END
#include <stdlib.h>
int past_the_end(int four) { return ((volatile int *)malloc(four * sizeof(int)))[four]; }
int overflow(int large) { return large + 1; }
END

if "$cc" --version | grep -q clang; then
    runtime=$("$cc" -print-file-name="libclang_rt.asan-$(uname -m).so")
else
    runtime="$("$cc" -print-file-name=libasan.so) $("$cc" -print-file-name=libubsan.so)"
fi
[ -e "${runtime%% *}" ] || { echo "no runtime library of the sanitizers for $cc: ${runtime%% *}"; exit 1; }
preload="$runtime $(gcc -print-file-name=libstdc++.so.6)" # which must know C++ exceptions from the start
options=detect_leaks=0,allocator_may_return_null=1,detect_stack_use_after_return=0
export PYTHONPATH=$place/src PYTHONMALLOC=malloc CYCONV_BACKEND=cython

sanitized() { # PROGRAM ARGUMENT...: an error ends the process that made it
    timeout --kill-after=30 "$limit" env LD_PRELOAD="$preload" "ASAN_OPTIONS=$options,log_path=$place/report" \
        UBSAN_OPTIONS=print_stacktrace=1 "$@"
}

cd "$place"
rm -f report.*
must_find() { # CALL TEXT
    sanitized "$python" -c "import ctypes; ctypes.CDLL('./planted.so').$1" > planted.log 2>&1 &&
        { echo "the planted error $1 did not end its process"; exit 1; }
    cat report.* >> planted.log 2> /dev/null || true
    grep -m 1 "$2" planted.log || { echo "the planted error $1 was not found"; exit 1; }
    rm -f report.*
}
must_find "past_the_end(4)" heap-buffer-overflow
must_find "overflow(2**31 - 1)" "signed integer overflow"

status=0
tests() { # --capture=sys: what a sanitizer writes to the terminal is not caught by pytest, which may be ended
    sanitized "$python" -m pytest -p no:cacheprovider --capture=sys \
        -k "not torch and not neighbours and not growth and not peak" "$@"
}
if [ -n "${FUZZ:-}" ]; then
    sanitized "$python" tests/fuzz.py --calls "$FUZZ" ${LEVEL:+--level "$LEVEL"} || status=$?
elif [ $# -gt 0 ]; then
    tests "$@" || status=$?
else
    for file in tests/test_*.py; do
        start=$SECONDS came=0
        tests "$file" > log 2>&1 || came=$?
        echo "$file: $(tail -1 log) (exit status $came, $((SECONDS - start)) s)"
        # 5: pytest found no test that is not left out
        [ $came = 0 ] || [ $came = 5 ] || { status=1; grep -E '^(FAILED|ERROR)|runtime error' log || tail -20 log; }
    done
fi
if compgen -G "report.*" > /dev/null; then
    cat report.*
    exit 1
fi
echo "sanitizers: no report, exit status $status"
exit "$status"
