"""Settings: what each may be, and how a default moves with the software."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.domain.storage.ground import GIB, Ground, run
from zcloud.domain.operations.global_config import (
    GlobalConfig,
    make_known,
    setting,
    setting_bool,
    setting_bytes,
    setting_int,
    setting_list,
)
from zcloud.domain.operations.settings import KNOWN, known, size_in_bytes
from zcloud.kernel.errors import Code, Refused


def test_every_default_is_what_its_setting_may_be() -> None:
    for one in KNOWN:
        one.must_take(one.default)
    assert len({(one.category, one.name) for one in KNOWN}) == len(KNOWN) == len({one.uuids for one in KNOWN})


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("512", 512), ("1K", 1024), ("1G", GIB), ("3T", 3 << 40), ("7B", 7)]
)
def test_sizes(text: str, size: int) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "G", "1g", "-1", "1.5G", "1 G", "٣"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(Refused) as refused:
        known("primaryStorage", "reservedCapacity").must_take(text)
    assert refused.value.code is Code.INVALID_ARGUMENT


def test_decisions_go_by_what_an_operator_chose() -> None:
    ground = Ground()
    unit = ground.unit
    assert run(setting_int(unit, "image", "expungePeriod")) == 259200
    run(make_known(unit, "owner"))
    period = run(unit.get(GlobalConfig, *known("image", "expungePeriod").uuids))
    period.set("60")
    assert run(setting_int(unit, "image", "expungePeriod")) == 60
    period.set("60")
    assert len(period.pending) == 2
    period.set(None)
    assert run(setting(unit, "image", "expungePeriod")) == "259200"
    assert run(setting_bytes(unit, "backupStorage", "reservedCapacity")) == GIB
    assert run(setting_bool(unit, "vm", "instanceOffering.setNullWhenDeleting")) is True
    run(unit.get(GlobalConfig, *known("image", "download.allowedPaths").uuids)).set("/a, /b")
    assert run(setting_list(unit, "image", "download.allowedPaths")) == ("/a", "/b")


def test_a_new_default_reaches_who_chose_nothing() -> None:
    ground = Ground()
    run(make_known(ground.unit, "owner"))
    before = known("image", "expungePeriod")
    after = replace(before, default="5", description="otherwise")
    config = run(ground.unit.get(GlobalConfig, *before.uuids))
    config.redefine(before)
    assert len(config.pending) == 1
    config.redefine(after)
    assert (config.value, config.default_value, config.description) == ("5", "5", "otherwise")
    config.set("60")
    config.redefine(before)
    assert (config.value, config.default_value) == ("60", "259200")
