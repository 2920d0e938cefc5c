"""python -m bench [--quick] [NAME…]: measure, print a table, write var/bench.json."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
from pathlib import Path

import bench.figures
from bench.figure import MEASURES, Figure, Size
from bench.machine import machine

OUT = Path("var/bench.json")
HEAD = "| figure | value | unit | limit | ratio | target | |\n|---|---:|---|---:|---:|---:|---|"


def main(argv: list[str] | None = None) -> int:
    """0 when everything was measured, whether or not targets are reached."""
    for info in pkgutil.iter_modules(bench.figures.__path__):
        importlib.import_module(f"bench.figures.{info.name}")
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller and shorter: three minutes in all")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}; all by default")
    options = parser.parse_args(argv)
    unknown = set(options.names) - set(MEASURES)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    found: dict[str, Figure] = {}
    began = time.monotonic()
    print(f"{machine()['text']}\n\n{HEAD}", flush=True)
    for name in options.names or MEASURES:
        begins = time.monotonic()
        for figure in MEASURES[name](Size(options.quick)):
            found[figure.name] = figure
            print(_row(figure), flush=True)
        print(f"{name}: {time.monotonic() - begins:.0f} s", file=sys.stderr, flush=True)
    print(f"\nIn {time.monotonic() - began:.0f} s; limits and values were taken in turns, values are medians.")
    _keep(found, quick=options.quick)
    return 0


def _row(figure: Figure) -> str:
    limit = "" if figure.limit is None else _number(figure.limit)
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    target = "" if figure.target is None else f"{'≥' if figure.more else '≤'} {_number(figure.target)}"
    mark = {True: "reached", False: "**missed**", None: ""}[figure.reached]
    note = "; ".join(part for part in (mark, figure.note) if part)
    return f"| {figure.name} | {_number(figure.value)} | {figure.unit} | {limit} | {ratio} | {target} | {note} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _keep(found: dict[str, Figure], *, quick: bool) -> None:
    """Figures that were not measured this time stay as they were."""
    OUT.parent.mkdir(exist_ok=True)
    before = json.loads(OUT.read_text()) if OUT.exists() else {}
    figures = {**before.get("figures", {}), **{name: figure.as_json() for name, figure in found.items()}}
    OUT.write_text(json.dumps({"machine": machine(), "quick": quick, "figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
