"""DescribeQuery and groups over a socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.cloud import ApiError, running_node


def test_what_is_described_can_be_asked(tmp_path: Path) -> None:
    async def go() -> None:
        async with running_node(tmp_path) as api:
            every = (await api.call("DescribeQuery")).kinds
            assert {k.kind for k in every} == {model.kind for model in api.node.models}
            for kind in every:
                noun = api.node.models[kind.kind].message_type.DESCRIPTOR.name
                asked = [f"{field.name}:*" for field in kind.fields if ":" in field.operators]
                asked += [f"{relation.name}:*" for relation in kind.relations]
                asked += [f"{alias} = null" for relation in kind.relations for alias in relation.aliases]
                for some in (asked[n : n + 16] for n in range(0, len(asked), 16)):
                    await api.call(f"Query{noun}", filter=" AND ".join(some), page_size=1)
                single = [field.name for field in kind.fields if field.single]
                summable = [field.name for field in kind.fields if field.summable]
                await api.call(f"Query{noun}", group_by=",".join(single[:8]), sums=",".join(summable[:8]))
            _, normal = await api.account("normal")
            (vm,) = (await normal.call("DescribeQuery", kind="VmInstance")).kinds
            fields = {field.name: field for field in vm.fields}
            assert (fields["state"].type, "Running" in fields["state"].values) == ("enum", True)
            assert fields["memory_size"].summable
            assert [f.name for f in fields["vm_nics"].fields][:2] == ["uuid", "l3_network_uuid"]
            assert {"host", "image"} <= {relation.name for relation in vm.relations}
            with pytest.raises(ApiError) as refused:
                await api.call("DescribeQuery", kind="vm_instanze")
            assert (refused.value.code, refused.value.fields) == ("INVALID_ARGUMENT", ["kind"])
            assert "vm_instance" in refused.value.message

    asyncio.run(go())


def test_groups_now_and_then(tmp_path: Path) -> None:
    async def go() -> None:
        async with running_node(tmp_path) as api:
            for n in range(5):
                zone = (await api.call("CreateZone", name=f"z{n}")).inventory.uuid
                if n % 2:
                    await api.call("ChangeZoneState", uuid=zone, state_event="disable")
            then = api.position
            for n in range(3):
                await api.call("CreateInstanceOffering", name=f"o{n}", cpu_num=n + 1, memory_size=1 << 30)
            await api.call("CreateZone", name="new")
            now = await api.call("QueryZone", group_by="state", count=True, filter='name != "z0"')
            assert {g.key["state"]: g.count for g in now.groups} == {"Enabled": 3, "Disabled": 2}
            assert (now.total, len(now.inventories)) == (5, 0)
            of_then = await api.call("QueryZone", group_by="state", at_position=then)
            assert {g.key["state"]: g.count for g in of_then.groups} == {"Enabled": 3, "Disabled": 2}
            assert of_then.total == 0
            (group,) = (await api.call("QueryInstanceOffering", group_by="state", sums="cpu_num,memory_size")).groups
            assert [(s.field, s.value) for s in group.sums] == [("cpu_num", 6), ("memory_size", 3 << 30)]
            for fields, name in (
                ({"sums": "name"}, "sums"),
                ({"group_by": "state", "order_by": "name"}, "order_by"),
                ({"group_by": "state", "read_mask": {"paths": ["name"]}}, "read_mask"),
                ({"group_by": "stat"}, "group_by"),
            ):
                with pytest.raises(ApiError) as refused:
                    await api.call("QueryZone", **fields)
                assert (refused.value.code, refused.value.fields) == ("INVALID_ARGUMENT", [name])

    asyncio.run(go())
