"""What must hold whatever happened (I1 to I9 of the invariants)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from tests.faults.harness.cloud import Run
from tests.faults.harness.hosts import STORED
from tests.faults.harness.lake import Fold, View
from zcloud.domain.compute.vm_nic import VmNics
from zcloud.domain.compute.vm_state import AT_REST, VmState
from zcloud.domain.compute.vm_volumes import VmVolumes
from zcloud.domain.infrastructure.host import HostCapacity
from zcloud.domain.network.ip_pool import IpPool
from zcloud.domain.storage.host_image_cache import HostImageCache
from zcloud.domain.storage.host_storage import HostStorage
from zcloud.domain.storage.image_cache import cache_uuids
from zcloud.domain.storage.nfs_primary_storage import MOUNTS
from zcloud.domain.storage.storage_network_hosts import PrimaryStorageNetwork
from zcloud.domain.storage.volume_chain import VolumeChain
from zcloud.kernel.job import ENDED, Job, JobQueue, JobState
from zcloud.kernel.workflow import workflow

UNTOUCHED = (VmState.CREATED, VmState.DESTROYED)


def violations(run: Run, *, calm: bool = True, lossy: bool = False) -> list[str]:
    """All that is wrong with a cloud at rest; empty when nothing is.

    calm: hosts have said what they have. lossy: something was removed and said to be there still.
    """
    fold = run.lake.fold
    found = [*_jobs(run), *_effects(run), *_books(fold), *_fences(run), *_in_time(run)]
    if not _same(replayed(run), fold):
        found.append("I7: the log folded from nothing is another cloud")
    if calm:
        found += [*_worlds(run, lossy), *_mounts(run)]
    return found


def replayed(run: Run) -> Fold:
    """The fold of the log, from what the run began with."""
    new = run.lake.records[run.past_end :]
    made = run.past.fork({record.resource_uuid for record in new})
    for record in new:
        made.take(record)
    return made


def _same(one: Fold, other: Fold) -> bool:
    if one.views.keys() != other.views.keys():
        return False
    return all(_same_parts(_parts(view), _parts(other.views[uuid])) for uuid, view in one.views.items())


def _parts(view: View) -> dict[str, Any]:
    main = {} if view.main is None else {"": view.main}
    return {**main, **view.beside}


def _same_parts(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one.keys() != other.keys():
        return False
    # Most are the same at a glance.
    pairs = ((vars(part), vars(other[stream])) for stream, part in one.items())
    return all(a == b or _lasting(a) == _lasting(b) for a, b in pairs)


def _lasting(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in ("now", "pending")}


def _jobs(run: Run) -> list[str]:
    fold, found = run.lake.fold, []
    requests: dict[str, set[str]] = {}
    for record in run.lake.records[run.began :]:
        if record.request_id:
            requests.setdefault(record.request_id, set()).add(str(record.causation_id))
    found += [f"I1: request {r} was carried out {len(c)} times" for r, c in requests.items() if len(c) > 1]
    working: dict[str, list[str]] = {}
    for job in fold.all("job"):
        assert isinstance(job, Job)
        if job.state is JobState.STUCK:
            if not job.error:
                found.append(f"I6: job {job.name} is Stuck and says not why")
        elif job.state not in ENDED and not run.rests(job):
            found.append(f"I6: job {job.name} is {job.state.value}")
        if job.state not in (*ENDED, JobState.WAITING):
            working.setdefault(job.resource_uuid, []).append(job.name)
        if job.ended and job.task_uuid:
            found.append(f"I4: job {job.name} has ended with a task")
    found += [f"I4: {jobs} work on one resource" for jobs in working.values() if len(jobs) > 1]
    for uuid, view in fold.views.items():
        for part in view.beside.values():
            if isinstance(part, JobQueue):
                ended = [j for j in part.jobs if fold.views[j].main.ended]  # type: ignore[union-attr]
                found += [f"I4: job {j} has ended and still queues at {uuid}" for j in ended]
        main = fold.find(uuid)
        if main is not None and main.deleting_job and run.job(main.deleting_job).ended:
            found.append(f"I6: {main.kind} {main.name} is being deleted by a job that has ended")
    return [*found, *_histories(run)]


def _histories(run: Run) -> list[str]:
    """I3 and I4 of each job by its own events: one task at a time, undone from the failed step backwards."""
    found = []
    for job in run.lake.fold.all("job"):
        pending, undone, dispatched, owed = "", 10_000, set(), -1
        for record in run.lake.streams[job.uuid]:
            event = msgspec.json.decode(record.state)
            name = record.topic.partition(".")[2]
            if name == "StepDispatched":
                if pending:
                    found.append(f"I4: {job.name} sends a second task")
                pending = event["task_uuid"]
                if event.get("undo"):
                    if event["index"] > undone:
                        found.append(f"I3: {job.name} undoes step {event['index']} after {undone}")
                    undone = event["index"]
                else:
                    dispatched.add(event["index"])
            elif name in ("StepDone", "StepFailed", "StepSkipped", "PassedOver", "GotStuck", "Finished"):
                pending = ""
            if name == "UndoBegun" or name == "StepFailed":
                first = event.get("index", max(dispatched, default=-1))
                undo_of = _steps(job)
                sent = max((i for i in dispatched if i <= first), default=-1)
                if 0 <= sent == first and undo_of[first].undo is not None:
                    owed = first
            answers = name in ("StepDone", "StepSkipped", "GotStuck") and event.get("undo", name == "GotStuck")
            if answers and owed == event["index"]:
                owed = -1
            if name == "Finished" and owed >= 0:
                found.append(f"I3: {job.name} never undid step {owed}, which it began")
    return found


def _steps(job: Any) -> Any:
    return workflow(job.workflow, job.workflow_version).steps(job.args)


def _effects(run: Run) -> list[str]:
    counts: dict[str, int] = {}
    for task in run.effects.done:
        counts[task] = counts.get(task, 0) + 1
    twice = [t for t, n in counts.items() if n > 1 and t not in run.effects.crashed]
    found = [f"I2: task {t} acted {counts[t]} times" for t in twice]
    fetched = run.servers.downloads
    if not run.effects.twice:
        found += [f"I2: image {image} was fetched twice" for image in set(fetched) if fetched.count(image) > 1]
    return found


def _fences(run: Run) -> list[str]:
    """I5: what really acted on a resource acted in the order in which it was meant to."""
    order = {}
    for record in run.lake.records[run.began :]:
        if record.topic == "job.StepDispatched":
            event = msgspec.json.decode(record.state)
            job = run.job(record.resource_uuid)
            order[event["task_uuid"]] = (record.time, job.resource_uuid, event["target"])
    last: dict[tuple[str, str], int] = {}
    found = []
    for task in run.effects.done:
        if task in order:
            time, *key = order[task]
            if time < last.get((key[0], key[1]), 0):
                found.append(f"I5: task {task} acted after a newer one")
            last[key[0], key[1]] = max(time, last.get((key[0], key[1]), 0))
    return found


def _caches(fold: Fold) -> list[str]:
    """What people see of cached images is what hosts have, and what volumes say of themselves."""
    spans = {m.uuid for m in fold.all("primary_storage") if getattr(m, "spans_hosts", False)}
    cached = set()
    for host in fold.all("host"):
        for one in fold.companion(HostImageCache, host.uuid).cached_images:
            where = "" if one.primary_storage_uuid in spans else host.uuid
            cached.add(cache_uuids(one.primary_storage_uuid, where, one.name).uuid)
    entries = {m.uuid: fold.value(m, "volume_count") for m in fold.all("image_cache")}
    stand = Counter(fold.value(m, "image_cache_uuid") for m in fold.all("volume"))
    found = []
    if not cached <= set(entries):
        found.append(f"I9: cached images that nobody sees: {sorted(cached - set(entries))}")
    found += [
        f"I9: {count} volumes are said to stand on cached image {uuid}, and {stand[uuid]} do"
        for uuid, count in entries.items()
        if count != stand[uuid]
    ]
    return found


def _in_time(run: Run) -> list[str]:
    """I6: where hosts answer quickly and no message is held up for long, no step waits for a report in vain."""
    if not run.prompt:
        return []
    found = []
    for record in run.lake.records[run.began :]:
        if record.topic in ("job.StepFailed", "job.StepSkipped", "job.PassedOver", "job.GotStuck"):
            event = msgspec.json.decode(record.state)
            reason = event.get("reason", "")
            if reason == "TIMEOUT" or reason.startswith("passed over (TIMEOUT)"):
                job = run.job(record.resource_uuid)
                found.append(f"I6: {job.name} waited in vain for step {job.steps[event['index']].name}: TIMEOUT")
    return found


def _books(fold: Fold) -> list[str]:
    """I9: what is claimed is the sum over living owners."""
    found = []
    vms = {m.uuid: m for m in fold.all("vm_instance")}
    volumes = {m.uuid: m for m in fold.all("volume")}
    for host in fold.all("host"):
        claims = fold.companion(HostCapacity, host.uuid).claims
        owed = {
            u
            for u, m in vms.items()
            if fold.value(m, "host_uuid") == host.uuid and VmState(fold.value(m, "state")) not in AT_REST
        }
        if set(claims) != owed:
            found.append(f"I9: CPU of {host.name} is claimed by {sorted(claims)}, and has {sorted(owed)}")
        cached = {f"image/{c.name}" for c in fold.companion(HostImageCache, host.uuid).cached_images}
        for share in fold.companion(HostStorage, host.uuid).shares.values():
            lie = {u for u, m in volumes.items() if fold.value(m, "host_uuid") == host.uuid}
            wanted = {k for k in share.claims if "/" not in k}
            if wanted != lie:
                found.append(f"I9: room of {host.name} is claimed by {sorted(wanted)}, and has {sorted(lie)}")
            waiting = {m.uuid for m in vms.values() if VmState(fold.value(m, "state")) is VmState.STARTING}
            snapshots = {f"snapshot/{s}" for v in lie for s in fold.companion(VolumeChain, v).nodes}
            if {k for k in share.claims if k.startswith("snapshot/")} != snapshots:
                found.append(f"I9: room of {host.name} for snapshots is not what they are")
            snapshots |= {f"export/{m.uuid}" for m in fold.all("image") if fold.value(m, "status") == "Downloading"}
            if not waiting and {k for k in share.claims if "/" in k} - cached - snapshots:
                found.append(f"I9: room of {host.name} is kept for an image that is not there")
    found += _caches(fold)
    nics = {nic.uuid for m in vms.values() for nic in fold.companion(VmNics, m.uuid).vm_nics if nic.ip}
    l3s = {m.uuid for m in fold.all("l3_network")}
    held: set[str] = set()
    for pool in fold.all("ip_range"):
        held |= set(fold.companion(IpPool, pool.uuid).holders())
    if held - l3s != nics:
        found.append(f"I9: addresses are held by {sorted(held - l3s)}, and NICs with one are {sorted(nics)}")
    roots = {fold.value(m, "vm_instance_uuid") for m in volumes.values() if fold.value(m, "type") == "Root"}
    if roots != set(vms):
        found.append("I9: root volumes without VMs, or VMs without root volumes")
    for vm in vms:
        has = {
            u for u, m in volumes.items() if u != vms[vm].root_volume_uuid and fold.value(m, "vm_instance_uuid") == vm
        }
        if set(fold.companion(VmVolumes, vm).data_volume_uuids) != has:
            found.append(f"I9: VM {vm} and its data volumes do not know each other")
    return found


def _worlds(run: Run, lossy: bool) -> list[str]:
    """What is really there is what is recorded, on every host that answers."""
    fold, found = run.lake.fold, []
    stuck = {job.resource_uuid for job in fold.all("job") if job.state is JobState.STUCK}  # type: ignore[attr-defined]
    for uuid, host in run.hosts.items():
        if fold.find(uuid) is None:
            continue
        real = {vm: it.state for vm, it in host.world.vms.items() if vm not in stuck}
        recorded = {
            m.uuid: fold.value(m, "state")
            for m in fold.all("vm_instance")
            if fold.value(m, "host_uuid") == uuid and m.uuid not in stuck
        }
        recorded = {vm: s for vm, s in recorded.items() if s in ("Running", "Paused", "Crashed")}
        if real != recorded:
            found.append(f"VMs on {uuid}: really {real}, recorded {recorded}")
        files = {v.uuid for v in host.world.volumes.own.values()}
        known = {
            m.uuid
            for m in fold.all("volume")
            if fold.value(m, "host_uuid") == uuid
            and fold.value(m, "actual_size")
            and not host.world.volumes.shares(str(fold.value(m, "install_path")))
        }
        for place, directory in host.world.mounts.items():
            seen = set(directory.files.get("volumes", {}))
            there = {
                path
                for m in fold.all("volume")
                if str(fold.value(m, "install_path")).startswith(f"{place}/") and fold.value(m, "actual_size")
                for path in (str(fold.value(m, "install_path")), *fold.companion(VolumeChain, m.uuid).paths)
            }
            if (seen - there if lossy else seen ^ there) and not stuck:
                found.append(f"files in {place}: really {sorted(seen)}, recorded {sorted(there)}")
        gone = {m.uuid for m in fold.all("volume") if fold.value(m, "vm_instance_uuid") in stuck}
        if ((files - gone) - known if lossy else (files - gone) ^ (known - gone)) and not stuck:
            found.append(f"volumes on {uuid}: really {files}, recorded {known}")
        paths = {path for path, v in host.world.volumes.items() if v.uuid in known - gone}
        meant = {
            path
            for u in known - gone
            for path in (str(fold.value(fold.find(u), "install_path")), *fold.companion(VolumeChain, u).paths)
        }
        if (meant - paths if not lossy else set()) and not stuck:
            found.append(f"files on {uuid}: missing are {sorted(meant - paths)}")
        for path, v in host.world.volumes.items():
            if v.backing_path and v.backing_path not in host.world.volumes and v.backing_path not in host.world.cache:
                found.append(f"file {path} on {uuid} lacks {v.backing_path} below it")
    images = {
        copy.install_path
        for m in fold.all("image")
        for copy in fold.value(m, "copies")
        if copy.install_path and m.uuid not in stuck and m.uuid != STORED
    }
    if not stuck and (set(run.servers.files) - images if lossy else set(run.servers.files) ^ images):
        found.append(f"images: really {sorted(run.servers.files)}, recorded {sorted(images)}")
    return found


def _mounts(run: Run) -> list[str]:
    """What hosts have mounted they need, or owe; and each knows whom to ask on the network of what it has."""
    fold, found = run.lake.fold, []
    owed = {(m.host_uuid, *item.key) for m in fold.all("host_debt") for item in m.items}  # type: ignore[attr-defined]
    storages = {m.uuid: m for m in fold.all("nfs_primary_storage")}
    for uuid, host in run.hosts.items():
        known: Any = fold.find(uuid)
        if known is None:
            continue
        there = {place.rpartition("/")[2] for place in host.world.mounts if place.startswith(MOUNTS)}
        has = {u for u, m in storages.items() if known.cluster_uuid in fold.value(m, "attached_cluster_uuids")}
        needless = [u for u in there - has if (uuid, "primary_storage", u) not in owed]
        if needless:
            found.append(f"mounts on {uuid}: {needless} are of no use there, and are not owed")
        if fold.value(known, "status") == "Connected" and has - there:
            found.append(f"mounts on {uuid}: {sorted(has - there)} are missing")
    for storage in storages:
        late = fold.companion(PrimaryStorageNetwork, storage).uninformed()
        if late:
            found.append(f"network of storage {storage}: {late} do not know who is there")
    return found
