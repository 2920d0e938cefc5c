"""The tasks of VMs: start, stop, reboot, pause, resume, read."""

from __future__ import annotations

from typing import Any

from agents.kvm.domain_xml import checked_uuid
from agents.kvm.machines import Machines
from agents.kvm.migration import Migrations
from agents.runtime.task import Handler, TaskError, Work
from zcloud.v1.vm_instance_task_pb2 import (
    ChangeCdResult,
    ChangeCdTask,
    MigrateVmResult,
    MigrateVmTask,
    PauseVmResult,
    PauseVmTask,
    PrepareMigrationResult,
    PrepareMigrationTask,
    ReadVmResult,
    ReadVmTask,
    RebootVmResult,
    RebootVmTask,
    ResumeVmResult,
    ResumeVmTask,
    StartVmResult,
    StartVmTask,
    StopVmResult,
    StopVmTask,
)


def vm_handlers(machines: Machines, migrations: Migrations) -> list[Handler[Any, Any]]:
    """One handler for each task of vm_instance_task.proto."""
    kinds = (StartVm, StopVm, RebootVm, PauseVm, ResumeVm, ReadVm, ChangeCd)
    return [*(kind(machines) for kind in kinds), PrepareMigration(machines, migrations), MigrateVm(migrations)]


class StartVm(Handler[StartVmTask, StartVmResult], task=StartVmTask, result=StartVmResult):
    """Make the domain; one that is there already is success."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    async def run(self, args: StartVmTask, work: Work) -> StartVmResult:
        work.check()
        return StartVmResult(state=await self._machines.start(args.spec, args.paused))

    async def probe(self, args: StartVmTask) -> StartVmResult | None:
        state = await self._machines.state(args.spec.vm_instance_uuid)
        whole = state == "Running" or (state == "Paused" and args.paused)
        return StartVmResult(state=state) if whole else None


class StopVm(Handler[StopVmTask, StopVmResult], task=StopVmTask, result=StopVmResult):
    """Ask the guest, then take its power away."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    async def run(self, args: StopVmTask, work: Work) -> StopVmResult:
        forced = await self._machines.stop(args.vm_instance_uuid, 0 if args.cold else args.grace_seconds, work.check)
        return StopVmResult(forced=forced)

    async def probe(self, args: StopVmTask) -> StopVmResult | None:
        return StopVmResult() if await self._machines.state(args.vm_instance_uuid) == "Stopped" else None


class RebootVm(Handler[RebootVmTask, RebootVmResult], task=RebootVmTask, result=RebootVmResult):
    """Stop and start, so that a changed specification takes effect.

    The boot that is to end is written down first: after a crash of the agent it tells whether the VM that runs is
    the old one, or has been started again already and is left alone.
    """

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    async def run(self, args: RebootVmTask, work: Work) -> RebootVmResult:
        vm = args.spec.vm_instance_uuid
        mark = self._machines.folder(vm) / "rebooting"
        old = await self._machines.boot_id(vm)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(old)
        try:
            await self._machines.stop(vm, args.grace_seconds, work.check)
            work.progress(50, "stopped")
            await self._machines.start(args.spec, paused=False)
        except TaskError:
            mark.unlink(missing_ok=True)
            raise
        mark.unlink(missing_ok=True)
        return RebootVmResult()

    async def probe(self, args: RebootVmTask) -> RebootVmResult | None:
        vm = args.spec.vm_instance_uuid
        mark = self._machines.folder(vm) / "rebooting"
        if not mark.exists() or await self._machines.state(vm) != "Running":
            return None
        return RebootVmResult() if await self._machines.boot_id(vm) != mark.read_text() else None


class PauseVm(Handler[PauseVmTask, PauseVmResult], task=PauseVmTask, result=PauseVmResult):
    """Stop the guest's CPUs."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    async def run(self, args: PauseVmTask, work: Work) -> PauseVmResult:
        work.check()
        await self._machines.pause(args.vm_instance_uuid)
        return PauseVmResult()

    async def probe(self, args: PauseVmTask) -> PauseVmResult | None:
        return PauseVmResult() if await self._machines.state(args.vm_instance_uuid) == "Paused" else None


class ResumeVm(Handler[ResumeVmTask, ResumeVmResult], task=ResumeVmTask, result=ResumeVmResult):
    """Let the guest's CPUs go on."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    async def run(self, args: ResumeVmTask, work: Work) -> ResumeVmResult:
        work.check()
        await self._machines.resume(args.vm_instance_uuid)
        return ResumeVmResult()

    async def probe(self, args: ResumeVmTask) -> ResumeVmResult | None:
        return ResumeVmResult() if await self._machines.state(args.vm_instance_uuid) == "Running" else None


class ReadVm(Handler[ReadVmTask, ReadVmResult], task=ReadVmTask, result=ReadVmResult):
    """What state the VM really is in."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    async def run(self, args: ReadVmTask, work: Work) -> ReadVmResult:
        work.check()
        return ReadVmResult(state=await self._machines.state(args.vm_instance_uuid))


class ChangeCd(Handler[ChangeCdTask, ChangeCdResult], task=ChangeCdTask, result=ChangeCdResult):
    """Put an ISO into a drive, or take it out; what lies there already is success."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    async def run(self, args: ChangeCdTask, work: Work) -> ChangeCdResult:
        work.check()
        await self._machines.change_cd(args.vm_instance_uuid, args.drive)
        return ChangeCdResult()


class PrepareMigration(
    Handler[PrepareMigrationTask, PrepareMigrationResult], task=PrepareMigrationTask, result=PrepareMigrationResult
):
    """See that a VM that runs elsewhere finds all that it needs here, and let its host in."""

    def __init__(self, machines: Machines, migrations: Migrations) -> None:
        self._machines, self._migrations = machines, migrations

    async def run(self, args: PrepareMigrationTask, work: Work) -> PrepareMigrationResult:
        work.check()
        self._machines.expect(args.spec)
        door = await self._migrations.expect(args)
        return PrepareMigrationResult(address=door.address, port=door.port, certificate=door.certificate)


class MigrateVm(Handler[MigrateVmTask, MigrateVmResult], task=MigrateVmTask, result=MigrateVmResult):
    """Send it while it runs; libvirt lets it run on one of both hosts, whatever happens."""

    def __init__(self, migrations: Migrations) -> None:
        self._migrations = migrations

    async def run(self, args: MigrateVmTask, work: Work) -> MigrateVmResult:
        checked_uuid("vm_instance_uuid", args.vm_instance_uuid)
        await self._migrations.send(args, work)
        return MigrateVmResult()
