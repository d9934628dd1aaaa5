"""Measure cyconv against the frameworks that are installed: see README.md beside this file.

python benchmarks/run.py --only conv-forward --shapes 'suite' --threads 2 --json benchmarks/results/x.json
"""

import argparse
import os
import sys
from itertools import chain
from pathlib import Path

import cases
import machine
import peers
import report

SETTINGS = ("only", "shapes", "threads", "dtype", "peers", "compare", "seconds")
SECTIONS = ("roofline", "conv-forward", "conv-backward", "pool", "training", "scaling", "memory")


def main(arguments=None):
    """Run the sections asked for, print the tables, write the files; 1 where anything disagreed."""
    options = parse(arguments)
    pages = "kept" if options.pages == "keep" and machine.keep_pages() else "fresh"
    contestants = peers.load(options.compare, options.peers)
    if not contestants:
        sys.exit("nothing to measure: no contestant is installed")
    settings = {name: getattr(options, name) for name in SETTINGS} | {"pages": pages}
    results = {"machine": None, "settings": settings, "load_before": os.getloadavg()[0], "problems": []}
    if results["load_before"] > 0.5:
        print(f"the machine is busy (load average {results['load_before']:.1f}): ratios will be noisy")
    results |= measure(options, contestants, results["problems"])
    results["machine"] = machine.describe()
    write(options, results)
    report.print_tables(report.tables(results))
    for problem in results["problems"][:20]:
        print(f"PROBLEM: {problem}")
    if len(results["problems"]) > 20:
        print(f"... and {len(results['problems']) - 20} more problems")
    return 1 if results["problems"] else 0


def parse(arguments):
    """The command line."""
    cores = machine.usable_cores()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=listed(SECTIONS), default=list(SECTIONS), metavar="SECTION,...",
                        help=f"sections to run, of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--shapes", default="*", metavar="PATTERN",
                        help="shell pattern of a group, a name or group/name, such as 'suite' or '*resnet*'")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, cores}), metavar="N",
                        help="numbers of threads (default: 1 and all cores)")
    parser.add_argument("--dtype", nargs="+", choices=("float32", "float64"), default=["float32"])
    parser.add_argument("--peers", type=listed(tuple(peers.PEERS)), default=list(peers.USUAL_PEERS),
                        metavar="PEER,...", help=f"rivals, of {', '.join(peers.PEERS)}, or none "
                        f"(default: {', '.join(peers.USUAL_PEERS)}, as far as installed)")
    parser.add_argument("--compare", type=listed(), default=["cython"],
                        metavar="VARIANT,...",
                        help="variants of cyconv: cython, numpy, v3, cython:im2col ... (default: cython)")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S",
                        help="time for each contestant in each case (default: %(default)s)")
    parser.add_argument("--pages", choices=("keep", "fresh"), default="keep",
                        help="whether freed memory is kept for the next call (see README.md; default: keep)")
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured")
    parser.add_argument("--chart", metavar="FILE", help="draw the ratios")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables as Markdown")
    return parser.parse_args(arguments)


def listed(choices=None):
    """A type for argparse: names separated by commas, of `choices` where given; ``none`` for none."""

    def split(text):
        names = [] if text == "none" else text.split(",")
        unknown = set(names) - set(choices or names)
        if unknown:
            expected = ", ".join(choices)
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: expected some of {expected}, or none")
        return names

    return split


def measure(options, contestants, problems):
    """The sections' results: cases, scaling, memory and roofline, each where asked for."""
    results = {"cases": []}
    if "roofline" in options.only:
        from roofline import measure as measure_roofline

        results["roofline"] = {str(threads): measure_roofline(threads) for threads in options.threads}
    for case in all_cases(options):
        row = cases.time_case(case, contestants, options.seconds, problems)
        results["cases"] += [show(row)] if row else []
    if "scaling" in options.only and len(options.threads) > 1:
        counts = [min(options.threads), max(options.threads)]
        rows = (
            cases.time_scaling(case, contestants, counts, options.seconds, problems)
            for dtype in options.dtype
            for case in cases.scaling_cases(dtype, options.shapes)
        )
        results["scaling"] = [show(row) for row in rows if row]
    if "memory" in options.only:
        from memory import measure as measure_memory

        results["memory"] = measure_memory(options.compare, options.peers, options.threads, problems)
    return results


def all_cases(options):
    """All cases that are timed at one number of threads."""
    for dtype in options.dtype:
        for threads in options.threads:
            yield from chain.from_iterable(
                cases_of(section, dtype, threads, options.shapes) for section in options.only
            )


def cases_of(section, dtype, threads, pattern):
    """The cases of one section."""
    if section in ("conv-forward", "conv-backward"):
        return cases.conv_cases(section, dtype, threads, pattern)
    if section == "pool":
        return cases.pool_cases(dtype, threads, pattern)
    if section == "scaling":
        return cases.size_cases(dtype, threads, pattern)
    if section == "training":
        from training import training_cases

        return training_cases(dtype, threads, pattern)
    return ()


def show(row):
    """Print a row as soon as it is measured, and return it."""
    times = ", ".join(f"{name} {_milliseconds(time)}" for name, time in row["milliseconds"].items())
    print(f"{row['section']} {row['dtype']} {row['threads']}: {row['case']}: {times}", flush=True)
    return row


def _milliseconds(time):
    return "/".join(map(_milliseconds, time)) if isinstance(time, list) else f"{time:.4g}"


def write(options, results):
    """Write the files that were asked for."""
    if options.json:
        report.write_json(results, options.json)
    if options.chart:
        report.chart(results, options.chart)
    if options.markdown:
        Path(options.markdown).parent.mkdir(parents=True, exist_ok=True)
        Path(options.markdown).write_text(report.markdown(results))


if __name__ == "__main__":
    sys.exit(main())
