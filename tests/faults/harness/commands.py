"""Random commands against the whole write side, and a plain model of dictionaries that says what must come of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from tests.faults.harness.cloud import ADMIN, Run
from tests.faults.harness.grounds import vm_fields
from zcloud.api import access
from zcloud.api.rpcs import rpcs
from zcloud.kernel.context import Actor
from zcloud.kernel.errors import Refused
from zcloud.kernel.ids import derive
from zcloud.kernel.job import JobState

STRANGER = Actor(derive("account", "stranger"), "stranger", "session", "client", False)
GIB = 1 << 30


@dataclass(frozen=True)
class Kind:
    """How one kind is created, changed and deleted. parent: its kind, and the field that names it."""

    create: str
    noun: str
    parent: tuple[str, str] | None = None
    switched: bool = True
    updated: bool = True


KINDS = {
    "zone": Kind("CreateZone", "Zone"),
    "cluster": Kind("CreateCluster", "Cluster", ("zone", "zone_uuid")),
    "simulator_host": Kind("AddSimulatorHost", "Host", ("cluster", "cluster_uuid"), updated=False),
    "instance_offering": Kind("CreateInstanceOffering", "InstanceOffering"),
    "l2_no_vlan_network": Kind("CreateL2NoVlanNetwork", "L2Network", ("zone", "zone_uuid"), switched=False),
    "l3_network": Kind("CreateL3Network", "L3Network", ("l2_no_vlan_network", "l2_network_uuid")),
    "ip_range": Kind("AddIpRange", "IpRange", ("l3_network", "l3_network_uuid"), switched=False),
    "local_primary_storage": Kind("AddLocalPrimaryStorage", "PrimaryStorage", ("zone", "zone_uuid"), switched=False),
    "vm_instance": Kind("CreateVmInstance", "VmInstance", switched=False),
}
MOST = 40


@dataclass
class Thing:
    """What the model knows of one resource."""

    kind: str
    parent: str
    name: str
    description: str = ""
    state: str = "Enabled"


@dataclass
class Model:
    """The cloud as dictionaries."""

    run: Run
    chance: random.Random
    things: dict[str, Thing] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    answers: list[tuple[str, str, dict[str, Any], bytes]] = field(default_factory=list)
    number: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)

    # -- commands

    async def step(self) -> None:
        """One command, and whether what came of it was right."""
        self.number += 1
        draw = self.chance.random()
        if draw < 0.05 and self.answers:
            await self.again()
        elif draw < 0.45:
            await self.create()
        elif draw < 0.65:
            await self.change()
        elif draw < 0.78:
            await self.switch()
        elif draw < 0.90:
            await self.mistake()
        else:
            await self.delete()

    async def ask(self, rpc: str, expected: str, *, actor: Actor = ADMIN, **fields: Any) -> Any:
        """The answer, or None; expected: the code of the refusal, or nothing."""
        request = f"{self.run.seed}/{self.number}"
        try:
            access.check_rpc(rpcs()[rpc], actor)
            answer = await self.run.call(rpc, request_id=request, actor=actor, **fields)
        except Refused as refused:
            self.refused += 1
            if refused.code.name != expected:
                self.wrong.append(
                    f"{self.number}: {rpc} {fields}: {refused.code.name} {refused.message}, not {expected}"
                )
            return None
        if expected:
            self.wrong.append(f"{self.number}: {rpc} {fields} was accepted, not {expected}")
        self.answers.append((rpc, request, fields, answer.SerializeToString()))
        del self.answers[:-50]
        return answer

    def pick(self, kind: str = "") -> str:
        """One of a kind, or of all; empty when there is none."""
        found = [uuid for uuid, thing in self.things.items() if kind in ("", thing.kind)]
        return self.chance.choice(found) if found else ""

    async def create(self) -> None:
        kind = self.chance.choice(list(KINDS))
        how = KINDS[kind]
        parent = self.pick(how.parent[0]) if how.parent else ""
        if sum(t.kind == kind for t in self.things.values()) >= MOST or (how.parent and not parent):
            return
        if kind == "ip_range" and any(t.parent == parent for t in self.things.values()):
            return
        name = f"{kind}-{self.number}"
        again = self.gone and self.chance.random() < 0.2
        uuid = self.chance.choice(self.gone) if again else derive("thing", str(self.number), str(self.run.seed))
        if uuid in self.gone:
            self.gone.remove(uuid)
        fields = {"name": name, "resource_uuid": uuid, **self.details(kind)}
        if how.parent:
            fields[how.parent[1]] = parent
        answer = await self.ask(how.create, "", **fields)
        if answer is not None:
            self.things[uuid] = Thing(kind, parent, name)
            self.compare(uuid, answer.inventory)

    def details(self, kind: str) -> dict[str, Any]:
        """What a kind needs besides its name."""
        n = self.number
        if kind == "vm_instance":
            made = vm_fields(self.run, strategy="just_create")
            return {k: v for k, v in made.items() if k != "name"}
        return {
            "cluster": {"hypervisor_type": "Simulator"},
            "simulator_host": {"management_ip": f"h{n}.invalid", "cpu_num": 4, "memory_size": 8 * GIB},
            "instance_offering": {"cpu_num": 1 + n % 8, "memory_size": GIB},
            "l2_no_vlan_network": {"physical_interface": f"eth{n}"},
            "ip_range": {
                "start_ip": "10.9.0.10", "end_ip": "10.9.0.99", "netmask": "255.255.255.0", "gateway": "10.9.0.1"
            },
            "local_primary_storage": {"url": f"/zcloud/ps-{n}"},
        }.get(kind, {})  # fmt: skip

    async def change(self) -> None:
        uuid = self.pick()
        if uuid and KINDS[self.things[uuid].kind].updated:
            thing = self.things[uuid]
            new = {"name": f"renamed-{self.number}", "description": f"d{self.number}"}
            new = {k: v for k, v in new.items() if self.chance.random() < 0.7}
            answer = await self.ask(f"Update{KINDS[thing.kind].noun}", "", uuid=uuid, **new)
            for name, value in new.items():
                setattr(thing, name, value)
            if answer is not None:
                self.compare(uuid, answer.inventory)

    async def switch(self) -> None:
        uuid = self.pick(self.chance.choice([kind for kind, how in KINDS.items() if how.switched]))
        if uuid:
            thing, event = self.things[uuid], self.chance.choice(("enable", "disable"))
            await self.ask(f"Change{KINDS[thing.kind].noun}State", "", uuid=uuid, state_event=event)
            thing.state = event.capitalize() + "d"

    async def delete(self) -> None:
        uuid = self.pick()
        if not uuid:
            return
        answer = await self.ask(f"Delete{KINDS[self.things[uuid].kind].noun}", "", uuid=uuid)
        job_uuid = getattr(answer, "job_uuid", "")
        if job_uuid:
            job = await self.run.ended(job_uuid)
            if job.state is not JobState.SUCCEEDED:
                self.wrong.append(f"{self.number}: the deletion of {self.things[uuid]} ended: {job.error}")
        self.drop(uuid)

    def drop(self, uuid: str) -> None:
        """It goes with all below it."""
        for child in [u for u, thing in self.things.items() if thing.parent == uuid]:
            self.drop(child)
        self.gone = [*self.gone[-20:], uuid]
        del self.things[uuid]

    async def mistake(self) -> None:
        """What must be refused, and changes nothing."""
        before = len(self.run.lake.records)
        uuid = self.pick() or self.run.names["zone"]
        if uuid in self.things and not KINDS[self.things[uuid].kind].updated:
            return
        noun = KINDS[self.things[uuid].kind].noun if uuid in self.things else "Zone"
        draw = self.chance.randrange(5)
        if draw == 0:
            await self.ask("CreateZone", "INVALID_ARGUMENT", name="")
        elif draw == 1:
            await self.ask("CreateCluster", "NOT_FOUND", name="x", zone_uuid="0" * 32, hypervisor_type="KVM")
        elif draw == 2:
            await self.ask(f"Update{noun}", "INVALID_ARGUMENT", uuid="no uuid", name="x")
        elif draw == 3:
            await self.ask("CreateZone", "ALREADY_EXISTS", name="x", resource_uuid=uuid)
        else:
            of_admins = rpcs()[f"Update{noun}"].access == rpcs()["CreateZone"].access
            expected = "PERMISSION_DENIED" if of_admins else "NOT_FOUND"
            await self.ask(f"Update{noun}", expected, actor=STRANGER, uuid=uuid, name="x")
        if len(self.run.lake.records) != before:
            self.wrong.append(f"{self.number}: a refused command changed something")

    async def again(self) -> None:
        """A retry gets the first answer; the same id for something else is refused."""
        rpc, request, fields, first = self.chance.choice(self.answers)
        answer = await self.run.call(rpc, request_id=request, **fields)
        if answer.SerializeToString() != first:
            self.wrong.append(f"{self.number}: {rpc} was answered in another way when asked again")
        try:
            await self.run.call("CreateZone", request_id=request, name=f"other-{self.number}")
        except Refused as refused:
            if refused.reason.value != "REQUEST_REUSED":
                self.wrong.append(f"{self.number}: a request id used twice: {refused.message}")
        else:
            self.wrong.append(f"{self.number}: a request id was used twice")

    # -- comparing

    def compare(self, uuid: str, inventory: Any) -> None:
        """What the caller was told."""
        thing = self.things[uuid]
        told = (inventory.uuid, inventory.name, inventory.description)
        if told != (uuid, thing.name, thing.description):
            self.wrong.append(f"{self.number}: told {told} of {thing}")

    def compare_all(self) -> None:
        """The fold of the log and the model are the same cloud."""
        fold = self.run.lake.fold
        ours = set(self.run.past.views)
        for kind, how in KINDS.items():
            there = {m.uuid: m for m in fold.all(kind) if m.uuid not in ours}
            known = {uuid: thing for uuid, thing in self.things.items() if thing.kind == kind}
            if set(there) != set(known):
                self.wrong.append(f"{self.number}: {kind}: {len(there)} are there, {len(known)} should be")
            for uuid in there.keys() & known.keys():
                found, thing = there[uuid], known[uuid]
                if (found.name, found.description) != (thing.name, thing.description):
                    self.wrong.append(f"{self.number}: {found.name} should be {thing}")
                if how.switched and fold.value(found, "state") != thing.state:
                    self.wrong.append(f"{self.number}: {found.name} should be {thing.state}")
