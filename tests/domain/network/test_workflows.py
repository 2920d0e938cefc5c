"""Turns of network jobs that hosts can hardly be brought to in time: losses in between, running VMs (CLU-05)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.domain.network.ground import Ground, run
from zcloud.api.node import load_everything
from zcloud.domain.infrastructure.host import HostStatus
from zcloud.domain.infrastructure.simulator_host import SimulatorHost
from zcloud.domain.network import attachment
from zcloud.domain.network.host_networks import HostNetworks
from zcloud.kernel.errors import Reason, Refused
from zcloud.kernel.job import Job
from zcloud.kernel.workflow import workflow
from zcloud.processes.network import attach_l2_network, prepare_host
from zcloud.processes.network.use import must_not_run_in

load_everything()
JOB_STEP = {"undo": False, "task_uuid": "t", "task": "ApplyL2NetworkTask", "target": "", "deadline": 0}


class Views:
    """Read models by what they answer: (kind, column, value) to uuids."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = answers

    async def where(self, kind: str, **equal: str) -> list[str]:
        (value,) = equal.values()
        return self.answers.get(f"{kind}_{value}", [])

    async def holding(self, kind: str, field: str, value: str, column: str = "value") -> list[str]:
        return self.answers.get(f"{kind}_{field}_{value}", [])


def host_in(ground: Ground, cluster_uuid: str, name: str) -> SimulatorHost:
    made = run(ground.unit.new(SimulatorHost))
    made.create(name=name, cluster_uuid=cluster_uuid, zone_uuid="a" * 32, management_ip=f"{name}.invalid")
    return made


def job_on(ground: Ground, name: str, resource: Any, args: dict[str, Any]) -> Job:
    made = run(ground.unit.new(Job))
    names = tuple(step.name for step in workflow(name).steps(args))
    made.trigger(
        Job.Created(
            name=name,
            workflow=name,
            workflow_version=1,
            resource_kind=resource.kind,
            resource_uuid=resource.uuid,
            args=args,
            step_names=names,
        )
    )
    return made


def test_what_a_lost_host_may_have_got_is_remembered_for_its_return() -> None:
    ground = Ground()
    unit, l2, cluster = ground.unit, ground.l2(), ground.cluster()
    hosts = [host_in(ground, cluster.uuid, name) for name in ("a", "b", "c")]
    args = {"cluster_uuid": cluster.uuid, "host_uuids": [host.uuid for host in hosts]}
    job = job_on(ground, "attach_l2_network", l2, args)
    run(attachment.begin_attach(unit, l2, cluster))
    job.trigger(Job.StepDispatched(index=0, **JOB_STEP))
    job.trigger(Job.StepFailed(index=0, reason="TIMEOUT", error="no report"))
    # Nobody can say what it did, and it can't be reached for the undo.
    step = attach_l2_network.bridge_on(hosts[0].uuid)
    assert step.undo is not None
    assert run(step.undo(unit, job)) is None
    unit.cloud.ports["views"] = Views(**{f"host_{cluster.uuid}": [host.uuid for host in hosts]})
    run(workflow("attach_l2_network").fail(unit, job))
    networks = [run(unit.companion(HostNetworks, host)) for host in hosts]
    assert [list(each.bridges) for each in networks] == [[l2.uuid], [], []]
    # So it is removed when the host connects.
    connect = job_on(ground, "connect_host", hosts[0], {})
    task = run(prepare_host.next_stale(unit, connect))
    assert task is not None
    assert (task.target, task.args.l2_network_uuid) == (hosts[0].uuid, l2.uuid)


def test_a_task_that_was_sent_is_made_again_although_its_host_is_lost() -> None:
    ground = Ground()
    unit, l2, cluster = ground.unit, ground.l2(), ground.cluster()
    host = host_in(ground, cluster.uuid, "a")
    status = run(unit.companion(HostStatus, host))
    job = job_on(ground, "attach_l2_network", l2, {"cluster_uuid": cluster.uuid, "host_uuids": [host.uuid]})
    step = attach_l2_network.bridge_on(host.uuid)
    status.disconnected("gone")
    assert run(step.do(unit, job)) is None
    status.connected("", "")
    task = run(step.do(unit, job))
    assert task is not None
    job.trigger(Job.StepDispatched(index=0, **JOB_STEP))
    status.disconnected("gone")
    assert run(step.do(unit, job)) == task


def test_bridges_of_a_host_that_could_not_be_added_are_removed_and_of_one_that_reconnects_are_not() -> None:
    ground = Ground()
    unit, cluster = ground.unit, ground.cluster()
    host = host_in(ground, cluster.uuid, "a")
    networks = run(unit.companion(HostNetworks, host))
    networks.applied("1" * 32, "eth1", "before")
    for name, expected in (("add_host", "2" * 32), ("connect_host", None)):
        job = job_on(ground, name, host, {})
        networks.applied("2" * 32, "eth2", job.uuid)
        task = run(prepare_host.next_unmade(unit, job))
        assert (task.args.l2_network_uuid if task is not None else None) == expected


def test_no_detach_while_a_vm_with_a_nic_on_the_network_runs_in_the_cluster() -> None:
    ground = Ground()
    unit, l2, cluster = ground.unit, ground.l2(), ground.cluster()
    l3 = ground.l3()
    here, elsewhere = "1" * 32, "2" * 32
    views = {f"l3_network_{l2.uuid}": [l3.uuid], f"host_{cluster.uuid}": [here]}
    on_it = {f"vm_instance_vm_nics_{l3.uuid}": ["vm"]}
    unit.cloud.ports["views"] = Views(**views, **on_it, **{f"vm_instance_{here}": ["vm", "other"]})
    with pytest.raises(Refused) as refused:
        run(must_not_run_in(unit, l2, cluster))
    assert (refused.value.reason, refused.value.facts["vm_instance_uuid"]) == (Reason.STILL_IN_USE, "vm")
    for harmless in (
        {**on_it, f"vm_instance_{elsewhere}": ["vm"]},
        {**on_it, f"vm_instance_{here}": ["other"]},
        {f"vm_instance_{here}": ["vm"]},
    ):
        unit.cloud.ports["views"] = Views(**views, **harmless)
        run(must_not_run_in(unit, l2, cluster))
