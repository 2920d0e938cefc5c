"""Settings over a socket: what they may be, values of single resources, templates (UI-04)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.api.compute.ground import Ground, on_ground, refused
from tests.support.cloud import running_node

POLICY = {"category": "vm", "name": "deletionPolicy"}
RATIO = {"category": "host", "name": "cpu.overProvisioning.ratio"}


def test_settings_say_what_they_may_be_and_go_back(tmp_path: Path) -> None:
    """UI-04: type, validator and levels are shown; reset is the default."""

    async def main() -> None:
        async with running_node(tmp_path / "data") as api:
            found = (await api.call("QueryGlobalConfig", page_size=1000)).inventories
            shown = {f"{c.category}/{c.name}": (c.type, c.validator, list(c.resource_kinds)) for c in found}
            assert shown["vm/deletionPolicy"] == (
                "Choice",
                "one of Direct, Delay, Never",
                ["vm_instance", "cluster", "zone"],
            )
            assert shown["backupStorage/ping.interval"] == ("Integer", "a whole number from 1 to 10000000", [])
            assert shown["quota/vm.num"][0] == "Size"
            assert shown["vm/instanceOffering.setNullWhenDeleting"][0] == "Boolean"
            await api.call("UpdateGlobalConfig", **POLICY, value="Never")
            assert (await api.call("ResetGlobalConfig", **POLICY)).inventory.value == "Delay"
            head = api.node.cloud.log.head
            assert (await api.call("ResetGlobalConfig", **POLICY)).inventory.value == "Delay"
            assert api.node.cloud.log.head == head

    asyncio.run(main())


def test_the_nearest_value_wins(tmp_path: Path) -> None:
    """UI-04, behaviours 13: VM, cluster, zone, cloud; at once, and gone with the resource."""

    async def body(here: Ground) -> None:
        api = here.api
        vm = (await here.create()).uuid

        async def decides(resource: str) -> tuple[str, str]:
            found = await api.call("GetResourceConfig", **POLICY, resource_uuid=resource)
            return found.value, found.resource_kind

        async def put(resource: str, value: str, key: dict[str, str] = POLICY) -> Any:
            return (await api.call("UpdateResourceConfig", **key, resource_uuid=resource, value=value)).inventory

        assert await decides(vm) == ("Delay", "")
        await put(here.zone, "Never")
        assert await decides(vm) == ("Never", "zone")
        await put(here.cluster, "Direct")
        assert await decides(vm) == ("Direct", "cluster")
        assert await decides(here.zone) == ("Never", "zone")
        own = await put(vm, "Delay")
        assert (own.category, own.name, own.resource_kind, own.resource_uuid) == (*POLICY.values(), "vm_instance", vm)
        levels = (await api.call("GetResourceConfig", **POLICY, resource_uuid=vm)).levels
        assert [(level.resource_kind, level.value) for level in levels] == [
            ("vm_instance", "Delay"),
            ("cluster", "Direct"),
            ("zone", "Never"),
            ("", "Delay"),
        ]
        await api.call("DeleteResourceConfig", **POLICY, resource_uuid=vm)
        assert await decides(vm) == ("Direct", "cluster")
        assert (await refused(api.call("DeleteResourceConfig", **POLICY, resource_uuid=vm))).reason == "NOT_ATTACHED"

        # Direct: the deletion expunges the VM, and its own setting goes with it.
        await put(vm, "60", {"category": "vm", "name": "expungePeriod"})
        deleted = await api.call("DeleteVmInstance", uuid=vm)
        await api.wait(deleted.job_uuid)

        async def gone() -> bool:
            return (await api.call("QueryVmInstance", count=True)).total == 0

        await _until(gone)
        left = (await api.call("QueryResourceConfig", order_by="resource_kind")).inventories
        assert [(c.name, c.resource_kind) for c in left] == [("deletionPolicy", "cluster"), ("deletionPolicy", "zone")]

        for fields, field in (
            ({**POLICY, "resource_uuid": here.l3, "value": "Direct"}, "resource_uuid"),
            ({**POLICY, "resource_uuid": here.zone, "value": "Later"}, "value"),
            ({**POLICY, "name": "deletionPolice", "resource_uuid": here.zone, "value": "Direct"}, "name"),
            (
                {"category": "image", "name": "expungeInterval", "resource_uuid": here.image, "value": "5"},
                "resource_uuid",
            ),
        ):
            wrong = await refused(api.call("UpdateResourceConfig", **fields))
            assert (wrong.code, wrong.fields) == ("INVALID_ARGUMENT", [field])
        absent = await refused(api.call("UpdateResourceConfig", **POLICY, resource_uuid="f" * 32, value="Direct"))
        assert absent.message == f"there is no resource {'f' * 32}"
        assert absent.code == "NOT_FOUND"

        async def cpus() -> int:
            return int((await api.call("GetHost", uuid=here.host.host_uuid)).inventory.total_cpu_capacity)

        before = await cpus()
        await put(here.host.host_uuid, "20", RATIO)
        assert await cpus() == 2 * before
        await api.call("UpdateGlobalConfig", **RATIO, value="5")
        assert await cpus() == 2 * before
        await api.call("DeleteResourceConfig", **RATIO, resource_uuid=here.host.host_uuid)
        assert await cpus() == before / 2

    on_ground(tmp_path / "data", body)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - what it asks has no event to wait for
            await asyncio.sleep(0.02)


def test_templates_set_many_at_once(tmp_path: Path) -> None:
    """UI-04: all or none; what is wrong with one is said when it is written."""

    async def main() -> None:
        async with running_node(tmp_path / "data") as api:
            entries = [{**POLICY, "value": "Direct"}, {"category": "image", "name": "expungePeriod", "value": "60"}]
            made = await api.call("CreateGlobalConfigTemplate", name="lab", entries=entries)
            uuid = made.inventory.uuid
            assert [entry.value for entry in made.inventory.entries] == ["Direct", "60"]
            assert (await api.call("GetGlobalConfigTemplate", uuid=uuid)).inventory == made.inventory

            async def value(category: str, name: str) -> str:
                by = f'category = "{category}" AND name = "{name}"'
                return str((await api.call("QueryGlobalConfig", filter=by)).inventories[0].value)

            assert await value("image", "expungePeriod") == "259200"
            applied = await api.call("ApplyGlobalConfigTemplate", uuid=uuid)
            assert {(c.name, c.value) for c in applied.changed} == {
                ("deletionPolicy", "Direct"),
                ("expungePeriod", "60"),
            }
            assert await value("image", "expungePeriod") == "60"
            assert not (await api.call("ApplyGlobalConfigTemplate", uuid=uuid)).changed

            back = [{"category": "image", "name": "expungePeriod"}]
            await api.call("UpdateGlobalConfigTemplate", uuid=uuid, entries=back)
            await api.call("ApplyGlobalConfigTemplate", uuid=uuid)
            assert (await value("image", "expungePeriod"), await value("vm", "deletionPolicy")) == ("259200", "Direct")
            by_entry = await api.call("QueryGlobalConfigTemplate", filter="entries.name = expungePeriod")
            assert [t.name for t in by_entry.inventories] == ["lab"]

            for wrong, field in (
                ([{**POLICY, "value": "Later"}], "value"),
                ([{"category": "vm", "name": "nothing", "value": "1"}], "name"),
                ([{**POLICY, "value": "Direct"}, {**POLICY, "value": "Never"}], "entries"),
            ):
                error = await refused(api.call("CreateGlobalConfigTemplate", name="x", entries=wrong))
                assert (error.code, error.fields) == ("INVALID_ARGUMENT", [field])
            await api.call("DeleteGlobalConfigTemplate", uuid=uuid)
            assert (await refused(api.call("ApplyGlobalConfigTemplate", uuid=uuid))).code == "NOT_FOUND"

    asyncio.run(main())
