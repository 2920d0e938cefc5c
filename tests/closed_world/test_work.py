"""Work is closed: every task has a handler and a result, every lasting step an undo or a reason why not."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zcloud.v1
from agents.node.handlers import node_handlers
from agents.simulator.host import SimulatedHost
from tools.golden import ours
from zcloud.api.node import load_everything
from zcloud.kernel.aggregate import kinds
from zcloud.kernel.resource import Resource
from zcloud.kernel.workflow import Step, Workflow, workflows

load_everything()
# Steps without an undo (their numbers left out), and why. A deletion has none anyway: it goes on or stays where it
# is, since nothing brings back what is gone.
NO_UNDO = {
    "children": "deletes: what is gone stays gone",
    "connect": "only asks the host what it is",
    "reconnect_host.deploy_agent": "the host had an agent before",
    "clear_networks": "brings the host to what the model says, whatever becomes of the job",
    "primary_storages": "a job of its own, with its own undo",
    "prepare": "makes an empty directory on a host that has the storage in any case",
    "read_vm_instance.read": "only asks",
    "migrate_vm.prepare": "only looks whether all is there",
    "sweep": "removes what is nothing's any more",
    "drop_image_upload.discard": "deletes: what is gone stays gone",
    "clean_up_image_cache.collect": "deletes: what is gone stays gone",
    "collect": "deletes: what is gone stays gone",
    "maintain_primary_storage.stop_vms": "what a user wanted to run is started by its user: it may be down for long",
    "drop_cached_image.remove": "deletes: what is gone stays gone",
    "release": "what was mounted for a storage that is detached; attached again, it is mounted again",
    "tell": "only says whom to look at",
    "stop_stray_vm_instance.stop": "what runs where it should not is stopped, whatever becomes of the job",
    "l2_network": "the bridge belongs to the network, and serves other VMs as well; it goes when that is detached",
    "cache_image": "what is cached serves the next VM (IMG-02)",
    "look": "only asks the store what it holds",
    "measure": "only reads what lies there",
    "clean": "deletes: what is gone stays gone",
    "unexport": "deletes: what is gone stays gone",
    "stop": "the server of a store that goes",
    "retract": "what was captured for a while is let go, whatever becomes of the job",
    "delete": "what was captured for a while is let go, whatever becomes of the job",
    "create_image.store": "what lies on the backup storage is removed by the undo of the first step",
    "flatten": "the guest reads the same as before; the file needs nothing below it any more",
    "release_dhcp": "an address that is served no more; the start serves it again",
}


class Arguments(dict[str, Any]):
    """Arguments by which workflows choose their steps: one uuid, or some where the name is a plural."""

    def __missing__(self, name: str) -> Any:
        return ["1" * 32, "2" * 32] if name.endswith("s") else "1" * 32


def arguments(kind: str) -> Arguments:
    return Arguments(mode="Permissive", nics=2, strategy="CreateStopped", kind=kind)


def task_messages() -> Iterator[Any]:
    for info in pkgutil.iter_modules(zcloud.v1.__path__):
        if info.name.endswith("_task_pb2"):
            module = importlib.import_module(f"zcloud.v1.{info.name}")
            for name, descriptor in module.DESCRIPTOR.message_types_by_name.items():
                if name.endswith("Task"):
                    yield module, descriptor


TASKS = {descriptor.name: module for module, descriptor in task_messages()}


def names(handlers: Any) -> set[str]:
    return {handler.task.DESCRIPTOR.name for handler in handlers}


NODE = names(node_handlers())
SIMULATED = names(SimulatedHost("0" * 32).handlers())


def kvm() -> set[str]:
    libvirt = pytest.importorskip("libvirt")
    assert libvirt
    from agents.kvm.hypervisor import Hypervisor
    from agents.kvm.main import kvm_handlers

    async def made() -> set[str]:
        return names(kvm_handlers(Hypervisor("qemu:///system"), "0" * 32, Path("/nonexistent")))

    return asyncio.run(made())


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_has_a_handler_and_a_result(name: str) -> None:
    assert name in NODE | SIMULATED, "neither the node nor a host knows how to do it"
    assert f"{name.removesuffix('Task')}Result" in TASKS[name].DESCRIPTOR.message_types_by_name


def test_what_hosts_do_simulated_hosts_do_as_well() -> None:
    assert kvm() == SIMULATED
    assert not NODE & SIMULATED


def test_every_handler_is_for_a_task() -> None:
    assert not (NODE | SIMULATED) - set(TASKS)


def steps() -> Iterator[tuple[str, Workflow, Step]]:
    """Of every workflow of ours, with the arguments that choose steps."""
    kinds_of_ours = [k for k, c in sorted(kinds().items()) if issubclass(c, Resource) and ours(c)]
    for (name, _), flow in sorted(workflows().items()):
        if not ours(type(flow)):
            continue
        seen: set[str] = set()
        for kind in ("", *kinds_of_ours):
            for step in flow.steps(arguments(kind)):
                if step.name not in seen:
                    seen.add(step.name)
                    yield f"{name}.{step.name}", flow, step


def general(name: str) -> str:
    """bridge_2 is a bridge like the others."""
    return re.sub(r"_\d+$", "", name)


@pytest.mark.parametrize(("path", "flow", "step"), list(steps()), ids=[s[0] for s in steps()])
def test_every_step_whose_effect_lasts_has_an_undo(path: str, flow: Workflow, step: Step) -> None:
    if step.undo is not None:
        return
    made = getattr(step.do, "func", step.do)
    if flow.name.startswith(("delete", "expunge", "destroy")) or ".delete" in made.__module__:
        return  # a deletion goes on or stays where it is
    reason = NO_UNDO.get(path) or NO_UNDO.get(general(step.name))
    assert reason, f"{path} has no undo; give it one, or say in NO_UNDO why it needs none"


def test_reasons_for_no_undo_are_of_steps_that_exist() -> None:
    known = {path for path, _, _ in steps()} | {general(step.name) for _, _, step in steps()}
    assert set(NO_UNDO) <= known


@pytest.mark.parametrize(("path", "flow", "step"), list(steps()), ids=[s[0] for s in steps()])
def test_every_step_has_a_bounded_time(path: str, flow: Workflow, step: Step) -> None:
    assert 0 < step.timeout <= 7 * 24 * 3600
    assert step.undo is not None or step.undone is None


@pytest.mark.parametrize(
    "cls", [c for c in kinds().values() if issubclass(c, Resource) and ours(c)], ids=lambda c: c.kind
)
def test_every_delete_workflow_exists(cls: type[Resource]) -> None:
    if cls.delete_workflow:
        assert (cls.delete_workflow, 1) in workflows()


def test_steps_of_one_workflow_have_names_of_their_own() -> None:
    """Results are kept by the step's name."""
    for (name, _), flow in workflows().items():
        for kind in ("", *kinds()):
            found = [step.name for step in flow.steps(arguments(kind))]
            assert len(found) == len(set(found)), (name, kind, found)
