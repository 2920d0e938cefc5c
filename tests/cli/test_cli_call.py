"""Calls over a socket: session, metadata, retries, errors, jobs, and what is printed."""

import json
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
import pytest
import yaml
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

ZONE = {"uuid": "a" * 32, "name": "zone1", "state": 1, "version": 3, "create_date": {"seconds": 1_800_000_000}}
VM = {"uuid": "b" * 32, "name": "vm1", "state": 3, "cpu_num": 2, "memory_size": 128 << 20}


def sessions(home: Path) -> list[Path]:
    return sorted((home / "cache").glob("zcloud/sessions/*"))


def test_logs_in_by_itself_on_the_same_machine_and_keeps_the_session(server: Any, zcloud: Any, home: Path) -> None:
    server.say("CreateZone", inventory=ZONE)
    assert zcloud("CreateZone", "name=zone1").status == 0
    assert zcloud("CreateZone", "name=zone1").status == 0
    assert [request.account_name for request, _ in server.calls_of("LogInByAccount")] == ["admin"]
    (kept,) = sessions(home)
    assert stat.S_IMODE(os.stat(kept).st_mode) == 0o600


def test_an_ended_session_of_admin_is_renewed_once(server: Any, zcloud: Any) -> None:
    zcloud("QueryZone")
    server.tokens = {"another"}
    assert zcloud("QueryZone").status == 0
    assert len(server.calls_of("LogInByAccount")) == 2
    server.tokens = set()
    server.answers["LogInByAccount"] = lambda *_: server.response("LogInByAccount", inventory={"token": "useless"})
    ran = zcloud("QueryZone")
    assert ran.status == 1
    assert "UNAUTHENTICATED" in ran.err
    assert len(server.calls_of("LogInByAccount")) == 3


def test_the_ended_session_of_another_account_is_not_renewed_as_admin(server: Any, zcloud: Any) -> None:
    ran = zcloud("LogInByAccount", "account_name=alice", "password=correct horse", "-o", "json")
    assert json.loads(ran.out)["inventory"]["token"] == "token-of-admin"
    assert zcloud("QueryZone").status == 0
    server.tokens = {"another"}
    assert zcloud("QueryZone").status == 1
    assert [request.account_name for request, _ in server.calls_of("LogInByAccount")] == ["alice"]


def test_warnings_of_an_answer_are_told_beside_it(server: Any, zcloud: Any) -> None:
    """SCH-13, whatever form the answer is printed in."""
    server.say("CreateSchedulerJob", inventory={"name": "daily"}, warnings=["too many snapshots"])
    for output in ("table", "json"):
        ran = zcloud(
            "CreateSchedulerJob", "name=daily", "type=VolumeSnapshot", f"resource_uuids={'a' * 32}", "-o", output
        )
        assert ran.status == 0
        assert ran.err.splitlines()[-1] == "warning: too many snapshots"
        assert "daily" in ran.out


def test_log_out_forgets_the_session(server: Any, zcloud: Any, home: Path) -> None:
    zcloud("QueryZone")
    assert zcloud("LogOut").status == 0
    assert sessions(home) == []


def test_a_token_of_the_environment_goes_first(server: Any, zcloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server.tokens = {"given"}
    monkeypatch.setenv("ZCLOUD_TOKEN", "given")
    assert zcloud("QueryZone").status == 0
    assert server.calls_of("LogInByAccount") == []
    monkeypatch.setenv("ZCLOUD_TOKEN", "two\nlines")
    assert zcloud("QueryZone").status == 2


def test_the_password_of_this_machine_is_told_to_no_other(zcloud: Any, home: Path) -> None:
    (home / "data" / "admin-password").write_text("secret")
    ran = zcloud("QueryZone", "--server", "192.0.2.1:50051")
    assert ran.status == 1
    assert "there is no session for 192.0.2.1:50051" in ran.err


def test_metadata_of_a_mutating_call(server: Any, zcloud: Any) -> None:
    words = ["--reason", "weil’s geht 100%", "--validate-only", "--if-version", "3"]
    zcloud("CreateZone", "name=z", *words)
    ((request, metadata),) = server.calls_of("CreateZone")
    assert request.name == "z"
    assert uuid.UUID(metadata["zcloud-request"]).version == 4
    assert unquote(metadata["zcloud-reason"]) == "weil’s geht 100%"
    assert metadata["zcloud-validate-only"] == "true"
    assert metadata["zcloud-if-version"] == "3"
    zcloud("CreateZone", "name=z", "--request", "mine")
    assert server.calls_of("CreateZone")[1][1]["zcloud-request"] == "mine"
    zcloud("QueryZone")
    assert "zcloud-request" not in server.calls_of("QueryZone")[0][1]


def test_the_simulator_has_the_session_of_the_command_line(
    server: Any, zcloud: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr("agents.simulator.main.main", lambda argv: begun.append(argv) or 0)
    words = ["--server", server.address, "--cluster", "c" * 32, "--hosts", "3"]
    assert zcloud("agent", "simulator", *words).status == 0
    assert zcloud("agent", "simulator", *words, "--token", "given").status == 0
    assert begun == [[*words, "--token", next(iter(server.tokens))], [*words, "--token", "given"]]


def test_a_retry_is_the_same_request(server: Any, zcloud: Any) -> None:
    def twice_away(_: Any, context: grpc.ServicerContext) -> Any:
        if len(server.calls_of("CreateZone")) < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "starting")
        return server.response("CreateZone", inventory=ZONE)

    server.answers["CreateZone"] = twice_away
    assert zcloud("CreateZone", "name=z").status == 0
    ids = [metadata["zcloud-request"] for _, metadata in server.calls_of("CreateZone")]
    assert len(ids) == 3
    assert len(set(ids)) == 1


def test_who_had_no_answer_is_told_how_to_ask_again(server: Any, zcloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zcloud.cli.client._BACK_OFF", (0.0,))
    for name in ("CreateZone", "QueryZone"):
        server.say(name, refuse=lambda context: context.abort(grpc.StatusCode.UNAVAILABLE, "no database"))
    ran = zcloud("CreateZone", "name=z")
    ((_, metadata), _) = server.calls_of("CreateZone")
    assert ran.status == 3
    assert ran.err.splitlines()[-1].endswith(f" --request {metadata['zcloud-request']}")
    assert "--request 'a b'" in zcloud("CreateZone", "name=z", "--request", "a b").err
    assert "--request" not in zcloud("QueryZone").err


def test_nobody_there_is_status_3(zcloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZCLOUD_TOKEN", "t")
    ran = zcloud("QueryZone", "--server", "127.0.0.1:1")
    assert ran.status == 3
    assert "UNAVAILABLE" in ran.err
    assert "127.0.0.1:1" in ran.err


def test_a_refusal_is_told_with_all_that_came_with_it(server: Any, zcloud: Any) -> None:
    parts = [
        error_details_pb2.ErrorInfo(reason="ZONE_BUSY", domain="zcloud", metadata={"job_uuid": "j1"}),
        error_details_pb2.BadRequest(
            field_violations=[error_details_pb2.BadRequest.FieldViolation(field="name", description="too long")]
        ),
        error_details_pb2.PreconditionFailure(
            violations=[
                error_details_pb2.PreconditionFailure.Violation(type="STATE", subject="vm1", description="off"),
                error_details_pb2.PreconditionFailure.Violation(type="A", subject="b", description="the zone is busy"),
            ]
        ),
        error_details_pb2.ResourceInfo(resource_type="zone", resource_name="z1", description="gone"),
        error_details_pb2.QuotaFailure(
            violations=[error_details_pb2.QuotaFailure.Violation(subject="vm.num", description="20 of 20")]
        ),
    ]

    def refuse(context: grpc.ServicerContext) -> None:
        status = status_pb2.Status(code=code_pb2.FAILED_PRECONDITION, message="the zone is busy")
        for part in parts:
            packed = any_pb2.Any()
            packed.Pack(part)
            status.details.append(packed)
        context.abort_with_status(rpc_status.to_status(status))

    server.say("DeleteZone", refuse=refuse)
    ran = zcloud("DeleteZone", "uuid=u")
    assert ran.status == 1
    assert ran.out == ""
    lines = ran.err.splitlines()
    assert lines[0] == "zcloud: DeleteZone: FAILED_PRECONDITION (ZONE_BUSY): the zone is busy"
    told = [line.strip() for line in lines[1:]]
    assert told == ["job_uuid = j1", "name: too long", "STATE vm1: off", "zone z1 gone", "vm.num: 20 of 20"]


def test_nothing_that_a_server_says_moves_the_cursor(server: Any, zcloud: Any) -> None:
    server.say("GetZone", inventory={**ZONE, "name": "a\x1b[2Jb"})
    assert "a\\x1b[2Jb" in zcloud("GetZone", "uuid=u").out
    server.say("GetZone", refuse=lambda context: context.abort(grpc.StatusCode.NOT_FOUND, "no\x1b[2J zone"))
    assert "no\\x1b[2J zone" in zcloud("GetZone", "uuid=u").err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["CreateZon"], "Did you mean CreateZone"),
        (["CreateZone", "nam=x"], "Did you mean name?"),
        (["CreateZone", "-o", "xml"], "xml"),
        (["CreateZone", "--resaon", "x"], "--resaon"),
        (["Connect"], "zcloud agent"),
        (["CreateZone", "name=x", "--request", "é"], "ASCII"),
        (["CreateZone", "name=x", "--reason", "\udcff"], "UTF-8"),
        (["CreateZone", "name=\udcff"], "name: not a string"),
        (["agent", "xen"], "kvm or simulator"),
        (["help", "QueryZon"], "Did you mean QueryZone"),
    ],
)
def test_a_wrong_command_line_sends_nothing_and_is_status_2(
    server: Any, zcloud: Any, words: list[str], said: str
) -> None:
    ran = zcloud(*words)
    assert ran.status == 2
    assert said in ran.err
    assert [name for name, _, _ in server.calls if name != "LogInByAccount"] == []


def test_json_and_yaml_keep_the_protos_names(server: Any, zcloud: Any) -> None:
    server.say("GetVmInstance", inventory={**VM, "vm_nics": [{"ip": "10.0.0.2"}]})
    inventory = json.loads(zcloud("GetVmInstance", "uuid=u", "-o", "json").out)["inventory"]
    assert inventory["memory_size"] == 134217728
    assert inventory["state"] == "Running"
    assert inventory["vm_nics"][0]["ip"] == "10.0.0.2"
    assert inventory["description"] == ""
    assert "create_date" not in inventory
    assert yaml.safe_load(zcloud("GetVmInstance", "uuid=u", "-o", "yaml").out)["inventory"] == inventory


def test_what_nobody_counted_has_no_total(server: Any, zcloud: Any) -> None:
    """0 would say that there is none."""
    server.say("QueryZone", inventories=[{"name": "zone1"}])
    assert "total" not in json.loads(zcloud("QueryZone", "-o", "json").out)
    server.say("QueryZone")
    assert json.loads(zcloud("QueryZone", "count=true", "-o", "json").out)["total"] == 0


def test_a_read_mask_chooses_the_columns(server: Any, zcloud: Any) -> None:
    server.say("QueryZone", inventories=[{"name": "zone1"}])
    assert json.loads(zcloud("QueryZone", "read_mask=name", "-o", "json").out)["inventories"] == [{"name": "zone1"}]
    assert zcloud("QueryZone", "read_mask=state,name").out.splitlines()[0].split() == ["state", "name"]


def test_a_list_shows_what_tells_most_and_fits(server: Any, zcloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server.say("QueryVmInstance", inventories=[{**VM, "zone_uuid": "c" * 32, "name": "[bold]vm"}], total=5)
    ran = zcloud("QueryVmInstance", "count=true")
    header, row = ran.out.splitlines()
    assert header.split()[:3] == ["name", "uuid", "state"]
    assert row.split()[:3] == ["[bold]vm", "b" * 32, "Running"]
    assert "128 MiB" in row
    assert "c" * 32 in row
    assert "5 in all" in ran.err
    monkeypatch.setenv("COLUMNS", "60")
    header, row = zcloud("QueryVmInstance").out.splitlines()
    assert len(row) <= 60
    assert "b" * 32 in row
    assert "zone_uuid" not in header


def test_one_resource_is_shown_in_lines(server: Any, zcloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    server.say("GetZone", inventory=ZONE)
    lines = dict(line.split(maxsplit=1) for line in zcloud("GetZone", "uuid=u").out.splitlines())
    monkeypatch.undo()
    time.tzset()
    assert lines["state"].strip() == "Enabled"
    assert lines["create_date"].strip() == "2027-01-15T10:00:00+02:00"
    assert "description" not in lines


def test_a_plan_is_shown_instead_of_the_inventory(server: Any, zcloud: Any) -> None:
    server.say("CreateZone", plan={"events": [{"type": "zone.Created", "resource_kind": "zone"}]})
    ran = zcloud("CreateZone", "name=z", "--validate-only")
    assert "zone.Created" in ran.out
    assert "Nothing was changed" in ran.err


def test_a_stream_is_printed_as_it_comes(server: Any, zcloud: Any) -> None:
    def watch(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield server.response("WatchEvents", event={"type": "zone.Created", "reason": "why"}, position="p1")
        yield server.response("WatchEvents", position="p2")

    server.answers["WatchEvents"] = watch
    first, bookmark = map(json.loads, zcloud("WatchEvents", "-o", "json").out.splitlines())
    assert first["event"]["type"] == "zone.Created"
    assert (bookmark["position"], "event" in bookmark) == ("p2", False)
    assert zcloud("WatchEvents").out == "zone.Created  why\n"


def test_the_kept_session_is_keyed_by_server(server: Any, zcloud: Any, home: Path) -> None:
    zcloud("QueryZone")
    zcloud("QueryZone", "--server", server.address.replace("127.0.0.1", "localhost"))
    assert len(sessions(home)) == 2
    assert len(server.calls_of("LogInByAccount")) == 2


def test_runs_that_were_begun_are_told_beside_the_scheduler(zcloud: Any, server: Any) -> None:
    """SCH-12: what QuerySchedulerOccurrence is asked for next."""
    server.say("RunSchedulerNow", inventory={"name": "nightly"}, occurrence_uuids=["a" * 32, "b" * 32])
    ran = zcloud("RunSchedulerNow", f"uuid={'1' * 32}")
    assert ran.out.endswith(f"\noccurrence_uuids\n  {'a' * 32}\n  {'b' * 32}\n")
    assert "nightly" in ran.out


def test_a_refusal_says_nothing_twice(server: Any, zcloud: Any) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation
    facts = {"field": "name", "limit": "9", "all": "name is required; zone_uuid is required"}
    parts = [
        error_details_pb2.ErrorInfo(reason="INVALID_FIELD", domain="zcloud", metadata=facts),
        error_details_pb2.BadRequest(field_violations=[violation(field="name", description="is required")]),
    ]

    def refuse(context: grpc.ServicerContext) -> None:
        status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="name is required; zone_uuid is required")
        for part in parts:
            status.details.add().Pack(part)
        context.abort_with_status(rpc_status.to_status(status))

    server.say("CreateCluster", refuse=refuse)
    lines = zcloud("CreateCluster").err.splitlines()
    assert lines == [
        "zcloud: CreateCluster: INVALID_ARGUMENT (INVALID_FIELD): name is required; zone_uuid is required",
        "  limit = 9",
    ]


def test_a_plan_has_a_line_for_each_event(server: Any, zcloud: Any) -> None:
    """Whatever is in it: lists and objects as JSON, on one line."""
    event: Any = {"type": "job.Created", "resource_kind": "job", "data": {}}
    plan = server.response("CreateVmInstance", plan={"events": [event]})
    plan.plan.events[0].data.update({"number": 3, "steps": ["a", "b"], "by": {"is_admin": True, "n": 2}})
    server.answers["CreateVmInstance"] = lambda *_: plan
    ran = zcloud("CreateVmInstance", "name=x", "--validate-only")
    assert "Nothing was changed" in ran.err
    assert 'by={"is_admin":true,"n":2} number=3 ' in ran.out.splitlines()[1]
    assert len(ran.out.splitlines()) == 2


def test_what_is_in_a_cell_tells_people_first(server: Any, zcloud: Any) -> None:
    entry = server.response("QueryOperationLog", inventories=[{"name": "CreateZone"}])
    entry.inventories[0].duration.FromMicroseconds(4_530)
    server.answers["QueryOperationLog"] = lambda *_: entry
    assert "4.5 ms" in zcloud("QueryOperationLog").out
    event = {"type": "zone.Created", "actor": {"account_uuid": "a" * 32, "account_name": "alice", "source": "10.0.0.9"}}
    server.say("GetHistory", events=[event])
    assert "account_name=alice source=10.0.0.9" in zcloud("GetHistory", "resource_uuid=" + "b" * 32).out
