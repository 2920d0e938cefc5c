"""Settings over a socket: known from the first start, changed, and back to their defaults."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.cloud import ApiError, running_node
from zcloud.domain.identity.account import ADMIN_UUID
from zcloud.domain.operations.global_config import GlobalConfig
from zcloud.domain.operations.settings import KNOWN, Setting
from zcloud.kernel.context import Context
from zcloud.kernel.unit import Unit


def test_settings(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_node(tmp_path / "data") as api:
            found = (await api.call("QueryGlobalConfig", page_size=1000)).inventories
            assert {(c.category, c.name, c.value, c.default_value) for c in found} == {
                (s.category, s.name, s.default, s.default) for s in KNOWN
            }
            head = api.node.cloud.log.head
            same = await api.call("UpdateGlobalConfig", category="image", name="expungePeriod")
            assert (same.inventory.value, api.node.cloud.log.head) == ("259200", head)
            changed = await api.call("UpdateGlobalConfig", category="image", name="expungePeriod", value="60")
            assert (changed.inventory.value, changed.inventory.default_value) == ("60", "259200")
            for fields, field, nearest in (
                ({"category": "image", "name": "expungePeriot"}, "name", "expungePeriod"),
                ({"category": "images", "name": "expungePeriod"}, "category", "image"),
                ({"category": "image", "name": "expungePeriod", "value": "0"}, "value", ""),
                ({"category": "image", "name": "expungePeriod", "value": "soon"}, "value", ""),
                ({"category": "backupStorage", "name": "reservedCapacity", "value": "1 G"}, "value", ""),
                ({"category": "image", "name": "download.allowedNetworks", "value": "10.0.0.1/8"}, "value", ""),
                ({"category": "image", "name": "download.allowedPaths", "value": "images"}, "value", ""),
                ({"category": "image", "name": "deletionPolicy", "value": "Later"}, "value", ""),
            ):
                with pytest.raises(ApiError) as invalid:
                    await api.call("UpdateGlobalConfig", **fields)
                assert (invalid.value.code, invalid.value.fields) == ("INVALID_ARGUMENT", [field])
                assert nearest in invalid.value.message
            _, normal = await api.account("normal")
            with pytest.raises(ApiError) as denied:
                await normal.call("UpdateGlobalConfig", category="image", name="expungePeriod")
            assert denied.value.code == "PERMISSION_DENIED"

            async def of_another_version(unit: Unit) -> None:
                setting = Setting("host", "forgotten", "1", "What another version knew.", lambda text: "")
                (await unit.new(GlobalConfig, setting.uuids.uuid, account_uuid=ADMIN_UUID)).create(setting)

            await api.node.cloud.decide(Context(), of_another_version)
        # a start changes nothing that an operator chose, and adds no events
        async with running_node(tmp_path / "data") as api:
            assert (await api.call("QueryGlobalConfig", count=True)).total == len(KNOWN)
            by_name = "category = image AND name = expungePeriod"
            assert (await api.call("QueryGlobalConfig", filter=by_name)).inventories[0].value == "60"
            back = await api.call("UpdateGlobalConfig", category="image", name="expungePeriod")
            assert back.inventory.value == "259200"
            shown = (await api.call("GetGlobalConfig", uuid=back.inventory.uuid)).inventory
            assert (shown.category, shown.name, shown.value) == ("image", "expungePeriod", "259200")

    asyncio.run(main())
