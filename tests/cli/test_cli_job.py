"""Jobs that calls begin, from the command line: followed to their end, watched, gone on with."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import grpc

VM = {"uuid": "b" * 32, "name": "vm1", "state": 3, "cpu_num": 2, "memory_size": 128 << 20}


def job_stream(server: Any, *jobs: dict[str, Any]) -> Callable[..., Iterator[Any]]:
    def watch(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for job in jobs:
            yield server.response("WatchJob", inventory={"uuid": "j1", **job})

    return watch


def test_a_job_is_followed_and_the_inventory_is_fresh(server: Any, zcloud: Any) -> None:
    server.say("StartVmInstance", inventory={**VM, "state": 2}, job_uuid="j1")
    server.say("GetVmInstance", inventory=VM)
    server.answers["WatchJob"] = job_stream(
        server,
        {"state": 2, "steps": [{"name": "allocate", "state": 3}, {"name": "boot", "state": 2}]},
        {"state": 4, "steps": [{"name": "allocate", "state": 3}, {"name": "boot", "state": 3}]},
    )
    ran = zcloud("StartVmInstance", "uuid=u", "-o", "json")
    assert ran.status == 0
    assert json.loads(ran.out)["inventory"]["state"] == "Running"
    told = [re.sub(r" \(.*", "", line.strip()) for line in ran.err.splitlines()]
    assert told == ["allocate: done", "boot: running", "boot: done"]
    assert [request.uuid for request, _ in server.calls_of("GetVmInstance")] == ["b" * 32]


def test_a_failed_job_is_status_1_and_says_why(server: Any, zcloud: Any) -> None:
    server.say("StartVmInstance", inventory=VM, job_uuid="j1")
    server.say("GetVmInstance", inventory={**VM, "state": 5})
    failed = {"state": 5, "workflow": "start_vm_instance", "error": "no room", "steps": [{"name": "a", "state": 4}]}
    server.answers["WatchJob"] = job_stream(server, failed)
    ran = zcloud("StartVmInstance", "uuid=u")
    assert ran.status == 1
    assert "job start_vm_instance j1: Failed: no room" in ran.err
    assert "Stopped" in ran.out


def test_a_stuck_job_says_what_it_was_undone_for_and_what_to_do(server: Any, zcloud: Any) -> None:
    """ARC-12: that an undo failed is not why the call did."""
    server.say("StartVmInstance", inventory=VM, job_uuid="j1")
    server.say("GetVmInstance", inventory={**VM, "state": 5})
    errors = {"error": "the file is busy", "first_error": "no room"}
    steps = [{"name": "a", "state": 4, "error": "the file is busy"}, {"name": "b", "state": 6, "error": "no room"}]
    stuck = {"state": 7, "workflow": "start_vm_instance", **errors, "steps": steps}
    server.answers["WatchJob"] = job_stream(server, stuck)
    ran = zcloud("StartVmInstance", "uuid=u")
    assert ran.status == 1
    said = [line.strip() for line in ran.err[ran.err.index("job start_vm_instance") :].splitlines()]
    assert said == [
        "job start_vm_instance j1: Stuck: the file is busy",
        "it was being undone because of this: no room",
        "What it did could not be undone: zcloud RetryJob uuid=j1, or SkipJobStep.",
    ]


def test_watching_goes_on_when_the_server_comes_back(server: Any, zcloud: Any) -> None:
    def watch(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        begun = len(server.calls_of("WatchJob"))
        yield server.response("WatchJob", inventory={"uuid": "j1", "state": 4 if begun == 3 else 2})
        if begun == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "going down")

    server.say("StartVmInstance", inventory=VM, job_uuid="j1")
    server.say("GetVmInstance", inventory=VM)
    server.answers["WatchJob"] = watch
    assert zcloud("StartVmInstance", "uuid=u").status == 0
    assert len(server.calls_of("WatchJob")) == 3


def test_a_resource_that_is_gone_after_its_job(server: Any, zcloud: Any) -> None:
    server.say("ExpungeVmInstance", inventory=VM, job_uuid="j1")
    server.say("GetVmInstance", refuse=lambda context: context.abort(grpc.StatusCode.NOT_FOUND, "no such VM"))
    server.answers["WatchJob"] = job_stream(server, {"state": 4})
    ran = zcloud("ExpungeVmInstance", "uuid=u", "-o", "json")
    assert ran.status == 0
    assert "vm1 is no longer there" in ran.err
    assert json.loads(ran.out)["inventory"]["name"] == "vm1"


def test_no_wait_does_not_watch(server: Any, zcloud: Any) -> None:
    server.say("StartVmInstance", inventory=VM, job_uuid="j1")
    ran = zcloud("StartVmInstance", "uuid=u", "--no-wait", "-o", "json")
    assert json.loads(ran.out)["job_uuid"] == "j1"
    assert server.calls_of("WatchJob") == []


def test_canceling_a_job_is_good_when_it_is_canceled(server: Any, zcloud: Any) -> None:
    server.say("CancelJob", inventory={"uuid": "j1"}, job_uuid="j1")
    server.say("GetJob", inventory={"uuid": "j1", "state": 6})
    server.answers["WatchJob"] = job_stream(server, {"state": 6})
    assert zcloud("CancelJob", "uuid=j1").status == 0


def test_what_could_not_be_made_is_not_shown(server: Any, zcloud: Any) -> None:
    """Its job says why; programs have the answer all the same."""
    server.say("CreateVmInstance", inventory=VM, job_uuid="j1")
    server.say("GetVmInstance", refuse=lambda context: context.abort(grpc.StatusCode.NOT_FOUND, "no VM"))
    server.answers["WatchJob"] = job_stream(server, {"state": 5, "workflow": "create_vm", "error": "no host"})
    ran = zcloud("CreateVmInstance", "name=vm1")
    assert (ran.status, ran.out) == (1, ""), ran.err
    assert "no longer there" in ran.err
    assert "Failed: no host" in ran.err
    assert json.loads(zcloud("CreateVmInstance", "name=vm1", "-o", "json").out)["inventory"]["name"] == "vm1"


def test_a_job_that_is_watched_is_shown_step_by_step(server: Any, zcloud: Any) -> None:
    running = {"state": 2, "steps": [{"name": "boot", "state": 2}]}
    failed = {"state": 5, "workflow": "start_vm", "error": "no room", "steps": [{"name": "boot", "state": 4}]}
    server.answers["WatchJob"] = job_stream(server, running, failed)
    ran = zcloud("WatchJob", "uuid=" + "c" * 32)
    assert (ran.status, ran.out) == (1, "job start_vm j1: Failed: no room\n")
    assert [line.split(" (")[0] for line in ran.err.splitlines()] == ["  boot: running", "  boot: failed"]
    server.answers["WatchJob"] = job_stream(server, {"state": 4})
    assert zcloud("WatchJob", "uuid=" + "c" * 32).status == 0
    lines = zcloud("WatchJob", "uuid=" + "c" * 32, "-o", "json").out.splitlines()
    assert [json.loads(line)["inventory"]["state"] for line in lines] == ["Succeeded"]
