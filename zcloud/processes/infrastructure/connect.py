"""What every workflow that connects a host has in common: the steps, and what their results mean."""

from __future__ import annotations

from typing import Any

from zcloud.domain.infrastructure import host_size
from zcloud.domain.infrastructure.enroll_token import EnrollToken, uuids_of
from zcloud.domain.infrastructure.host import Host, HostStatus, Status
from zcloud.domain.infrastructure.kvm_host import KvmHost
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import NODE, Step, Task
from zcloud.processes.infrastructure.prepare import ON_BEGIN, ON_CONNECTED, ON_SEEN
from zcloud.processes.infrastructure.ssh import ssh_target
from zcloud.v1.host_task_pb2 import ConnectHostResult, ConnectHostTask, DeployKvmAgentResult, DeployKvmAgentTask
from zcloud.v1.host_task_pb2 import RemoveKvmAgentTask as RemoveTask


def token_of(unit: Unit, job: Job) -> str:
    """The job's enrolment token: made again from the job whenever it is sent, so that it lies nowhere."""
    digest: bytes = unit.port("vault").digest(b"enroll\0" + job.uuid.encode())
    return digest.hex()


async def begin(unit: Unit, job: Job, *, anew: bool = True) -> None:
    """The host is Connecting, and its agent may enrol once.

    Not anew: a host that nobody has missed since, because the node itself was away, stays Connected meanwhile.
    """
    host = await unit.get(Host, job.resource_uuid)
    status = await unit.companion(HostStatus, host)
    if anew or status.status is not Status.CONNECTED:
        status.connecting()
    if isinstance(host, KvmHost):
        token = await unit.new(EnrollToken, uuids_of(token_of(unit, job)).uuid, account_uuid=host.account_uuid)
        token.create(identity=f"host/{host.uuid}", now=unit.now)
    for hook in ON_BEGIN:
        await hook(unit, host)


async def deploy(unit: Unit, job: Job) -> Task | None:
    """The node's own agent installs and starts the host's agent."""
    host = await unit.get(Host, job.resource_uuid)
    if not isinstance(host, KvmHost):
        return None
    return Task(
        NODE,
        DeployKvmAgentTask(
            target=ssh_target(unit, host.management_ip, host),
            host_uuid=host.uuid,
            token=token_of(unit, job),
            libvirt_uri=host.libvirt_uri,
            **unit.port("doors")(),
        ),
    )


async def deployed(unit: Unit, job: Job, result: DeployKvmAgentResult) -> None:
    """The server's key is pinned."""
    host = await unit.get(KvmHost, job.resource_uuid)
    host.pin(result.host_key)


async def undeploy(unit: Unit, job: Job) -> Task | None:
    """Stops the agent and removes what was installed."""
    host = await unit.get(Host, job.resource_uuid)
    if not isinstance(host, KvmHost):
        return None
    return Task(NODE, RemoveTask(target=ssh_target(unit, host.management_ip, host), host_uuid=host.uuid))


async def connect(unit: Unit, job: Job) -> Task | None:
    """The agent says what the host is."""
    return Task(job.resource_uuid, ConnectHostTask(host_uuid=job.resource_uuid))


async def connected(unit: Unit, job: Job, result: ConnectHostResult) -> None:
    """The host's size is known, and what runs there."""
    host = await unit.get(Host, job.resource_uuid)
    await host_size.measured(unit, host, result.cpu_num, result.memory_size)
    for hook in ON_SEEN:
        await hook(unit, host, {vm.vm_instance_uuid: vm.state for vm in result.vms})


async def succeed(unit: Unit, job: Job) -> None:
    """The connect is complete, and only now is the host Connected."""
    host = await unit.get(Host, job.resource_uuid)
    facts: dict[str, Any] = job.results.get("connect", {})
    status = await unit.companion(HostStatus, host)
    status.connected(*(facts.get(fact, "") for fact in ("hypervisor_version", "os_version", "nfs_client")))
    for hook in ON_CONNECTED:
        await hook(unit, host)


async def fail(unit: Unit, job: Job) -> None:
    """The host is Disconnected, and why is known."""
    host = await unit.get(Host, job.resource_uuid)
    (await unit.companion(HostStatus, host)).disconnected(job.error)


# A host that can't be reached has no agent of ours, or one that this cloud will not let in.
# With a key that can't be read (INVALID) nothing was reached either.
NOT_REACHED = ("UNREACHABLE", "REFUSED", "INVALID")
DEPLOY = Step("deploy_agent", deploy, deployed, undo=undeploy, timeout=1200, out_of_reach=NOT_REACHED)
REDEPLOY = Step("deploy_agent", deploy, deployed, timeout=1200)
CONNECT = Step("connect", connect, connected, timeout=120)
