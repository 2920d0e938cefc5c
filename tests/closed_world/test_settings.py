"""Settings are closed: each has a consumer, and what can have a value of its own is asked for it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from zcloud.api.node import load_everything
from zcloud.domain.operations.resource_config import LEVELS
from zcloud.domain.operations.settings import KNOWN, Setting, known
from zcloud.kernel.aggregate import by_kind, companions_of
from zcloud.kernel.resource import Resource

load_everything()
ROOT = Path(__file__).parents[2]
# Where settings are said to be, which is no use of them.
SAID = ("settings.py", "resource_config.py")


def texts(path: Path) -> set[str]:
    return {
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and type(node.value) is str
    }


USED = [
    texts(path)
    for package in ("zcloud/domain", "zcloud/processes", "zcloud/api", "projections")
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.name not in SAID
]


@pytest.mark.parametrize("setting", KNOWN, ids=lambda s: f"{s.category}/{s.name}")
def test_every_setting_has_a_consumer(setting: Setting) -> None:
    """Some module names both: in a call that reads it, or where a watch says what its interval is."""
    if setting.category == "quota":
        assert any(setting.name in found for found in USED)
        return
    assert any({setting.category, setting.name} <= found for found in USED)


@pytest.mark.parametrize("setting", KNOWN, ids=lambda s: f"{s.category}/{s.name}")
def test_every_setting_says_what_it_may_be(setting: Setting) -> None:
    assert setting.type != "String"
    assert setting.validator
    assert setting.check("\x00") != ""
    assert setting.description.endswith(".")


@pytest.mark.parametrize("key", sorted(LEVELS), ids="/".join)
def test_levels_are_kinds_that_know_where_they_lie(key: tuple[str, str]) -> None:
    known(*key)
    nearest, *above = LEVELS[key]
    cls = by_kind(nearest)
    assert issubclass(cls, Resource)
    for kind in above:
        parts = [cls, *companions_of(cls.kinds)]
        assert any(f"{kind}_uuid" in part.defaults for part in parts), f"{nearest} does not know its {kind}"
