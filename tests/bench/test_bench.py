"""The measurements' own arithmetic and form: what a figure says, where it is kept, limits that are taken in turns."""

from __future__ import annotations

import ast
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bench.__main__ as program
from bench import figure
from bench.figure import MEASURES, Figure, Size, percentile
from bench.figures import commands
from bench.load import Load
from zcloud.v1.zone_pb2 import CreateZoneResponse

# Others read them by these names.
NAMED = (
    "durable_commands_sqlite",
    "durable_commands_postgresql",
    "reads_by_uuid",
    "page_100_of_100k",
    "vm_create_end_to_end",
    "replay",
    "rebuild",
    "agent_memory",
    "aggregate_memory",
    "vm_memory",
    "page_growth_1k_to_100k",
)


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_the_whole() -> None:
    one = Figure("calls", "calls/s", [50, 10, 30], [100, 40, 50], target=0.5)
    assert (one.value, one.limit, one.ratio, one.reached) == (30, 50, 0.5, True)
    assert Figure("calls", "calls/s", [49], [100], target=0.5).reached is False
    assert Figure("wait", "ms", [7], target=5, more=False).reached is False
    assert Figure("wait", "ms", [5], target=5, more=False).reached is True
    assert Figure("wait", "ms", [5]).reached is None
    assert Figure("rows", "rows/s", [90], [100], 100, of_value=True).reached is False
    assert Figure("rows", "rows/s", [110], [900], 100, of_value=True).reached is True
    with pytest.raises(ValueError, match="zip"):
        _ = Figure("calls", "calls/s", [1, 2], [1]).ratio
    assert (percentile([3, 1, 2], 0.5), percentile([], 0.99), percentile([1.0] * 99 + [9.0], 0.99)) == (2, 0, 9)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One measure with two figures, by a clock that says 90 s have passed."""

    def fake(size: Size) -> Iterator[Figure]:
        yield Figure("speed", "calls/s", [size.of(2000, 1000)], [4000], target=0.5, note="limit: none other")
        yield Figure("size", "KiB", [1.5], target=2, more=False)

    ticks = iter((10.0, 20.0, 90.0, 100.0))
    monkeypatch.setattr(program, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    monkeypatch.setattr(program, "OUT", tmp_path / "var" / "bench.json")
    monkeypatch.setitem(MEASURES, "fake", fake)
    return tmp_path / "var" / "bench.json"


def test_a_table_for_people_and_a_file_for_programs(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured.parent.mkdir()
    measured.write_text(json.dumps({"figures": {"older": {"value": 3}, "size": {"value": 9}}}))
    assert program.main(["fake"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| figure | value | unit | limit | ratio | target | |"
    assert lines[4] == "| speed | 2,000 | calls/s | 4,000 | 0.50 | ≥ 0.5 | reached; limit: none other |"
    assert lines[5] == "| size | 1.5 | KiB |  |  | ≤ 2 | reached |"
    assert lines[-1].startswith("In 90 s;")
    kept = json.loads(measured.read_text())
    assert kept["machine"]["cores"] >= 1
    assert kept["quick"] is False
    assert set(kept["figures"]) == {"older", "speed", "size"}, "what was not measured this time stays"
    assert kept["figures"]["size"]["value"] == 1.5
    assert kept["figures"]["speed"] == {
        "value": 2000,
        "unit": "calls/s",
        "limit": 4000,
        "ratio": 0.5,
        "target": 0.5,
        "reached": True,
        "rounds": [2000],
        "note": "limit: none other",
    }


def test_quick_is_less_of_the_same_and_is_said_so(measured: Path) -> None:
    assert program.main(["--quick", "fake"]) == 0
    kept = json.loads(measured.read_text())
    assert (kept["quick"], kept["figures"]["speed"]["value"], kept["figures"]["speed"]["reached"]) == (
        True,
        1000,
        False,
    )


def test_a_measure_that_is_not_there_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.main(["agents", "elephants"])
    assert "there is no elephants; there are" in capsys.readouterr().err


def test_limit_and_product_are_measured_in_turns_and_what_was_acknowledged_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []
    answers = [CreateZoneResponse(inventory={"uuid": f"{n:032x}"}).SerializeToString() for n in range(3)]
    looked_for: list[list[bytes]] = []

    class Echo:
        kind = "fake"

        def drive(self, *_: Any, **__: Any) -> Load:
            order.append("limit")
            return Load(rate=1000)

    class Product:
        admin = SimpleNamespace(token="", call=lambda *_, **__: CreateZoneResponse())

        def drive(self, rpc: str, *_: Any, **how: Any) -> Load:
            order.append("half" if "rate" in how else rpc)
            return Load(rate=500, seconds=[0.001, 0.002], answers=answers)

    @contextlib.contextmanager
    def echo(*_: Any) -> Iterator[Echo]:
        yield Echo()

    def lost(_: Any, create: str, query: str, acknowledged: list[bytes]) -> int:
        assert (create, query) == ("CreateZone", "QueryZone")
        looked_for.append(acknowledged)
        return 0

    monkeypatch.setattr(commands, "fastest_echo", echo)
    monkeypatch.setattr(commands, "lost", lost)
    it: Any = Product()
    found = {made.name: made for made in commands._on(it, "sqlite", 0.5, Size(quick=True))}
    rounds = commands.QUICK_ROUNDS
    assert order == ["limit", "CreateZone"] * rounds + ["limit", "UpdateZone"] * rounds + ["half"]
    assert looked_for == [answers * (rounds + 1)]
    assert found["durable_commands_sqlite"].ratio == found["durable_updates_sqlite"].ratio == 0.5
    assert found["command_p99_at_half_load_sqlite"].value == 2


@pytest.mark.parametrize("name", NAMED)
def test_every_figure_that_others_read_is_there(name: str) -> None:
    assert any(pattern.fullmatch(name) for pattern in _patterns()), f"no measure yields {name}"


def _patterns() -> list[re.Pattern[str]]:
    """The names of all figures, as the programs write them down; what is put in when they run is anything."""
    found: list[re.Pattern[str]] = []
    for path in Path(figure.__file__).parent.glob("figures/*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        assigned = {ast.unparse(node.targets[0]): node.value for node in nodes if isinstance(node, ast.Assign)}
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Figure":
                name = node.args[0]
                texts = _texts(assigned.get(name.id, name) if isinstance(name, ast.Name) else name)
                found += [re.compile(text) for text in texts if not text.startswith(".")]
    return found


def _texts(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant):
        return [re.escape(str(node.value))]
    if isinstance(node, ast.IfExp):
        return _texts(node.body) + _texts(node.orelse)
    if isinstance(node, ast.JoinedStr):
        return ["".join(re.escape(str(p.value)) if isinstance(p, ast.Constant) else ".*" for p in node.values)]
    return []
