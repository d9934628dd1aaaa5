"""Turn the measured rows into tables (terminal, Markdown), JSON and a chart.

A row is a dict: section, group, case, geometry, dtype, threads, work, unit, and, by contestant,
milliseconds (best), median and calls. A ratio is a contestant's time divided by cyconv's: above 1,
cyconv is faster.
"""

import json
import math
import sys
from itertools import groupby
from pathlib import Path
from typing import NamedTuple


class Table(NamedTuple):
    """Strings to print: one header, lines of as many cells, each line with a flag for a summary."""

    title: str
    header: list[str]
    lines: list[list[str]]
    note: str = ""


def is_rival(name):
    """Whether a contestant is another project's, not a variant of cyconv."""
    return not name.startswith("cyconv")


def base_of(row):
    """The contestant that the ratios compare with: cyconv, or the first where it is absent."""
    return "cyconv" if "cyconv" in row["milliseconds"] else next(iter(row["milliseconds"]))


def ratio(row, name):
    """Time of `name` divided by the base's; None where `name` did not take part."""
    times = row["milliseconds"]
    return times[name] / times[base_of(row)] if name in times else None


def fastest_rival(row):
    """The rival with the shortest time, or None where there is none."""
    times = {name: time for name, time in row["milliseconds"].items() if is_rival(name)}
    times.pop(base_of(row), None)
    return min(times, key=times.get) if times else None


def rival_ratio(row):
    """Time of the fastest rival divided by the base's, or None."""
    name = fastest_rival(row)
    return None if name is None else ratio(row, name)


def geometric_mean(values):
    """exp(mean(log)) of the values; None where there are none."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def tables(results):
    """All tables of a run, in the order in which it measured."""
    found = []
    for (section, dtype, threads), rows in groupby(results["cases"], _table_key):
        plural = "s" if threads > 1 else ""
        limits = results.get("roofline", {}).get(str(threads), {})
        found.append(_case_table(f"{section}, {dtype}, {threads} thread{plural}", list(rows), limits))
    for dtype, rows in groupby(results.get("scaling", ()), lambda row: row["dtype"]):
        found.append(_scaling_table(dtype, list(rows)))
    if results.get("memory"):
        found.append(_memory_table(results["memory"]))
    if results.get("roofline"):
        found.append(_roofline_table(results["roofline"]))
    return found


def _table_key(row):
    return row["section"], row["dtype"], row["threads"]


def _case_table(title, rows, limits):
    names = list(dict.fromkeys(name for row in rows for name in row["milliseconds"]))
    base = "cyconv" if "cyconv" in names else names[0]
    others = [name for name in names if name != base]
    header = ["case", "geometry", f"{base} ms", rows[0]["unit"], "of limit"]
    header += [f"{name} ms (ratio)" for name in others] + ["fastest rival"]
    lines = []
    for group, members in groupby(rows, lambda row: row["group"]):
        members = list(members)
        lines += [_case_line(row, base, others, limits) for row in members]
        if others and len(members) > 1:
            lines += _summary_lines(members, others, group)
    if others and len({row["group"] for row in rows}) > 1:
        lines += _summary_lines(rows, others, "all")
    return Table(title, header, lines)


def _case_line(row, base, others, limits):
    cells = [row["case"], row["geometry"]]
    milliseconds = row["milliseconds"]
    if base in milliseconds:
        rate = row["work"] / milliseconds[base] * 1e3
        limit = limits.get(_limit_of(row))
        cells += [_time(milliseconds[base]), f"{rate:.3g}", f"{rate / limit:.0%}" if limit else ""]
    else:
        cells += ["", "", ""]
    cells += [
        f"{_time(milliseconds[name])} ({_ratio(ratio(row, name))})" if name in milliseconds else ""
        for name in others
    ]
    return [*cells, _ratio(rival_ratio(row))]


def _limit_of(row):
    """Key of the roofline that bounds a row."""
    return {"GF/s": f"fma_{row['dtype']}_gf", "GB/s": "copy_gb"}.get(row["unit"])


def _summary_lines(rows, others, group):
    """Geometric mean and minimum of each column's ratios; their cells begin with ``*``."""
    columns = [[ratio(row, name) for row in rows] for name in others] + [[rival_ratio(row) for row in rows]]
    columns = [[value for value in values if value is not None] for values in columns]
    means = [_ratio(geometric_mean(values)) for values in columns]
    least = [_ratio(min(values, default=None)) for values in columns]
    skipped = [""] * 4
    return [
        [f"*{group}: geometric mean", *skipped, *means],
        [f"*{group}: minimum", *skipped, *least],
    ]


def _scaling_table(dtype, rows):
    names = list(dict.fromkeys(name for row in rows for name in row["milliseconds"]))
    low, high = rows[0]["threads"]
    lines = [[row["case"], *(_speedup(row["milliseconds"].get(name)) for name in names)] for row in rows]
    pairs = [[row["milliseconds"][name] for row in rows if name in row["milliseconds"]] for name in names]
    means = [geometric_mean([slow / fast for slow, fast in column]) for column in pairs]
    lines.append(["*geometric mean", *map(_ratio, means)])
    return Table(f"{dtype}, from {low} thread to {high}: ms, ms (speed-up)", ["case", *names], lines)


def _speedup(pair):
    return f"{_time(pair[0])}, {_time(pair[1])} ({_ratio(pair[0] / pair[1])})" if pair else ""


def _memory_table(rows):
    header = ["pass", "contestant", "threads", "MiB above inputs and outputs"]
    lines = [[row["pass"], row["contestant"], str(row["threads"]), f"{row['mib']:.1f}"] for row in rows]
    return Table(f"peak memory of conv2d, {rows[0]['geometry']}", header, lines)


def _roofline_table(roofline):
    names = list(next(iter(roofline.values())))
    lines = [[name, *(str(limits[name]) for limits in roofline.values())] for name in names]
    header = ["GF/s and GB/s", *(f"{count} thread{'s' if count != '1' else ''}" for count in roofline)]
    return Table("limits of the machine", header, lines)


def _time(milliseconds):
    return f"{milliseconds:.4f}" if milliseconds < 0.1 else f"{milliseconds:.3g}"


def _ratio(value):
    return "" if value is None else f"{value:.2f}"


def print_tables(found):
    """Print tables to the terminal; needs rich."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console(width=None if sys.stdout.isatty() else 200)
    for table in found:
        grid = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD)
        for position, title in enumerate(table.header):
            grid.add_column(title, justify="left" if position == 0 else "right")
        for line in table.lines:
            summary = line[0].startswith("*")
            grid.add_row(line[0].lstrip("*"), *line[1:], style="bold" if summary else None)
        console.print(grid)


def markdown(results):
    """The whole run as Markdown: machine, settings, tables."""
    parts = [describe(results)]
    for table in tables(results):
        rule = ["---"] + ["---:"] * (len(table.header) - 1)
        lines = [_markdown_line(line) for line in (table.header, rule, *table.lines)]
        parts.append("\n".join([f"### {table.title}", "", *lines]))
    return "\n\n".join(parts) + "\n"


def describe(results):
    """One sentence: the machine, the versions, the settings."""
    machine, settings = results["machine"], results["settings"]
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    libraries = ", ".join(
        f"{library['prefix']} {library['version']} ({library['architecture']})" for library in machine["blas"]
    )
    return (
        f"{machine['date'][:10]}: {machine['cpu']}, {machine['cores']} cores, {caches}; {machine['system']}; "
        f"Python {machine['python']}, {versions}; BLAS {libraries}; cyconv level "
        f"{machine['cyconv'].get('level')}; {settings['seconds']} s for each contestant and case; "
        f"freed pages {settings['pages']}."
    )


def _markdown_line(cells):
    if cells[0].startswith("*"):
        cells = [f"**{cell.lstrip('*')}**" if cell else "" for cell in cells]
    return "| " + " | ".join(cells) + " |"


def write_json(results, path):
    """Write the results so that `chart` and `markdown` can be made from them later."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(results, indent=1) + "\n")


def chart(results, path):
    """Draw the ratios: a row of panels for each section and dtype, a column for each thread count."""
    from matplotlib.figure import Figure

    panels = {key: list(rows) for key, rows in groupby(results["cases"], _table_key)}
    lines = list(dict.fromkeys((section, dtype) for section, dtype, _ in panels))
    columns = sorted({threads for *_, threads in panels})
    heights = [max(len(panels.get((*line, threads), ())) for threads in columns) for line in lines]
    heights = [1.2 + 0.28 * height for height in heights]
    figure = Figure(figsize=(1 + 6 * len(columns), sum(heights)), layout="constrained")
    grid = figure.subplots(len(lines), len(columns), squeeze=False, gridspec_kw={"height_ratios": heights})
    for (section, dtype, threads), rows in panels.items():
        axes = grid[lines.index((section, dtype)), columns.index(threads)]
        _draw_ratios(axes, rows)
        axes.set_title(f"{section}, {dtype}, {threads} thread{'s' if threads > 1 else ''}", fontsize=10)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _draw_ratios(axes, rows):
    """Horizontal bars on a logarithmic axis: how many times slower than the base each contestant is."""
    base = base_of(rows[0])
    names = list(dict.fromkeys(name for row in rows for name in row["milliseconds"] if name != base))
    thickness = 0.8 / max(1, len(names))
    values = [1.0]
    for offset, name in enumerate(names):
        places = [place for place, row in enumerate(rows) if name in row["milliseconds"]]
        ratios = [ratio(rows[place], name) for place in places]
        heights = [place + (offset - (len(names) - 1) / 2) * thickness for place in places]
        axes.barh(heights, [value - 1 for value in ratios], thickness, left=1, label=name)
        values += ratios
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(0.5, min(values) / 1.1), max(4, max(values) * 1.1))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(axis="x", alpha=0.3)
    axes.set_yticks(range(len(rows)), [row["case"] for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"time divided by {base}'s: right of 1, {base} is faster", fontsize=8)
    axes.legend(fontsize=7, loc="best")


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
