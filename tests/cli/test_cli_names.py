"""Names in the place of uuids, and what is refused before anything is sent."""

import json
from typing import Any

import grpc
import pytest

from zcloud.cli import references


def known(server: Any, **names: dict[str, str]) -> None:
    """Kinds of things with these names and uuids; nothing else is there."""

    def answer_of(rpc: str, named: dict[str, str]) -> Any:
        def answer(request: Any, _: Any) -> Any:
            asked = [uuid for name, uuid in named.items() if request.filter == f"name = {json.dumps(name)}"]
            return server.response(rpc, inventories=[{"uuid": uuid} for uuid in asked])

        return answer

    for rpc, named in names.items():
        server.answers[rpc] = answer_of(rpc, named)


def test_names_stand_for_uuids(server: Any, zcloud: Any) -> None:
    """In fields that refer to something, single, many and below others, and for the resource itself."""
    zone, images, nets = "1" * 32, {"ubuntu": "2" * 32}, {"lan": "3" * 32, "wan": "4" * 32}

    known(server, QueryZone={'a "room"': zone}, QueryImage=images, QueryL3Network=nets)
    assert zcloud("CreateCluster", "name=c", 'zone_uuid=a "room"').status == 0
    assert server.calls_of("CreateCluster")[-1][0].zone_uuid == zone
    assert zcloud("DeleteZone", 'uuid=a "room"').status == 0
    assert server.calls_of("DeleteZone")[-1][0].uuid == zone
    words = ("image_uuid=ubuntu", f"l3_network_uuids=lan,{'5' * 32},wan", 'static_ips=[{"l3_network_uuid": "wan"}]')
    assert zcloud("CreateVmInstance", "name=vm", "--no-wait", *words).status == 0
    sent = server.calls_of("CreateVmInstance")[-1][0]
    assert sent.image_uuid == images["ubuntu"]
    assert list(sent.l3_network_uuids) == [nets["lan"], "5" * 32, nets["wan"]]
    assert [ip.l3_network_uuid for ip in sent.static_ips] == [nets["wan"]]


def test_a_name_that_nothing_has_or_several_have_is_refused_here(server: Any, zcloud: Any) -> None:
    server.say("QueryZone")
    ran = zcloud("CreateCluster", "name=c", "zone_uuid=attic")
    assert (ran.status, ran.out) == (2, "")
    assert "zone_uuid: there is no Zone with the name or uuid 'attic'; `zcloud QueryZone` shows all." in ran.err
    server.say("QueryZone", inventories=[{"uuid": "1" * 32}, {"uuid": "2" * 32}])
    ran = zcloud("CreateCluster", "name=c", "zone_uuid=attic")
    assert ran.status == 2
    assert f"more than one Zone has the name 'attic'; say which by its uuid: {'1' * 32}, {'2' * 32}." in ran.err
    assert not server.calls_of("CreateCluster")


def named(server: Any, *kinds: str, allowed: bool = True) -> None:
    """One thing of the name web in each of these kinds; what nothing has is not there, or is not for this account."""

    def refuse(context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "QueryHost is for the admin account only")

    for query in references._of_named_things():
        server.say(query.name, refuse=None if allowed else refuse)
    known(server, **{f"Query{kind}": {"web": f"{n}" * 32} for n, kind in enumerate(kinds, 1)})


@pytest.mark.parametrize("allowed", [True, False])
def test_a_name_stands_for_a_resource_of_any_kind(server: Any, zcloud: Any, allowed: bool) -> None:
    """Wherever any kind may be meant, and whether or not all kinds may be seen."""
    named(server, "VmInstance", allowed=allowed)
    server.say("GetHistory", refuse=lambda context: context.abort(grpc.StatusCode.NOT_FOUND, "nothing"))
    found = "1" * 32
    zcloud("GetHistory", "resource_uuid=web")
    zcloud("why", "web")
    zcloud("diff", "web", "--from", "1h")
    assert [request.resource_uuid for request, _ in server.calls_of("GetHistory")] == [found] * 3
    for name, field in (("QueryOperationLog", "about_uuid"), ("ChangeResourceOwner", "resource_uuid")):
        assert zcloud(name, f"{field}=web").status == 0
        assert getattr(server.calls_of(name)[-1][0], field) == found
    assert zcloud("ShareResource", f"resource_uuids=web,{'9' * 32}").status == 0
    assert list(server.calls_of("ShareResource")[-1][0].resource_uuids) == [found, "9" * 32]


def test_what_something_new_is_to_be_called_by_is_no_name_of_anything(server: Any, zcloud: Any) -> None:
    """resource_uuid of what is created, which the server checks."""
    named(server, "Zone")
    assert zcloud("CreateZone", "name=z", "resource_uuid=web").status == 0
    assert server.calls_of("CreateZone")[-1][0].resource_uuid == "web"
    assert "of any kind" not in zcloud("help", "CreateZone").out
    assert "of any kind, by uuid or name" in zcloud("help", "GetHistory").out


def test_a_name_of_several_kinds_is_told_with_them(server: Any, zcloud: Any) -> None:
    named(server, "VmInstance", "Volume")
    ran = zcloud("why", "web")
    assert ran.status == 2
    assert f"more than one has the name 'web'; say which by its uuid: VmInstance {'1' * 32}, Volume " in ran.err
    ran = zcloud("GetHistory", "resource_uuid=attic")
    assert ran.status == 2
    assert "resource_uuid: nothing has the name or uuid 'attic'" in ran.err
    assert not server.calls_of("GetHistory")


def test_kinds_that_may_be_gone_have_names_as_well(server: Any, zcloud: Any) -> None:
    """The copies on one storage (IMG-09)."""
    known(server, QueryImage={"debian": "1" * 32}, QueryBackupStorage={"bs": "2" * 32})
    assert zcloud("DeleteImage", "uuid=debian", "backup_storage_uuids=bs").status == 0
    (request, _) = server.calls_of("DeleteImage")[-1]
    assert (request.uuid, list(request.backup_storage_uuids)) == ("1" * 32, ["2" * 32])


def test_the_simulator_takes_the_clusters_name(server: Any, zcloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr("agents.simulator.main.main", lambda argv: begun.append(argv) or 0)
    known(server, QueryCluster={"c1": "c" * 32})
    words = ["--server", server.address, "--token", next(iter(server.tokens)), "--hosts", "3", "--cluster", "c1"]
    assert zcloud("agent", "simulator", *words).status == 0
    assert begun == [[*words, "--cluster", "c" * 32]]
