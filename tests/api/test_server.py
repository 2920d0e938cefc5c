"""What every client finds whatever it is written in: health, reflection, typed errors, bounded messages."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from tests.support.cloud import CHANNEL, ApiError, ServerProcess
from zcloud.api.rpcs import rpcs
from zcloud.cli.main import main
from zcloud.v1 import options_pb2 as o

ROOT = Path(__file__).parents[2]
BUF = ROOT / ".venv/bin/buf"


def test_health(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.address, options=CHANNEL) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "zcloud.v1.ZoneService"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=60)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as refused:
            stub.Check(health_pb2.HealthCheckRequest(service="zcloud.v1.None"), timeout=60)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection(server: ServerProcess, version: str) -> None:
    with grpc.insecure_channel(server.address, options=CHANNEL) as channel:
        ask = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="zcloud.v1.ZoneService"),
        ]
        listed, file = list(ask(iter(requests), timeout=60))
        names = {service.name for service in listed.list_services_response.service}
        ours = {rpc.service for rpc in rpcs().values() if rpc.access != o.ACCESS_AGENT}
        assert ours <= names
        assert any(b"CreateZone" in data for data in file.file_descriptor_response.file_descriptor_proto)


def buf_curl(server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [str(BUF), "curl", "--http2-prior-knowledge", "--protocol", "grpc", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("protocol", ["grpc-v1", "grpc-v1alpha"])
def test_buf_curl_lists_and_calls(server: ServerProcess, protocol: str) -> None:
    url = f"http://{server.address}"
    listed = buf_curl(server, "--reflect-protocol", protocol, "--list-methods", url)
    assert listed.returncode == 0, listed.stderr
    assert "zcloud.v1.ZoneService/CreateZone" in listed.stdout
    call = ["--reflect-protocol", protocol, "-H", f"authorization: Bearer {server.admin.token}"]
    made = buf_curl(server, *call, "-d", '{"name": "by curl"}', f"{url}/zcloud.v1.ZoneService/CreateZone")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["inventory"]["name"] == "by curl"
    refused = buf_curl(server, *call, "-d", "{}", f"{url}/zcloud.v1.ZoneService/CreateZone")
    assert refused.returncode != 0
    assert "invalid_argument" in refused.stderr
    assert "google.rpc.BadRequest" in refused.stderr


def test_errors_carry_what_programs_need(server: ServerProcess) -> None:
    admin = server.admin
    with pytest.raises(ApiError) as invalid:
        admin.call("CreateZone", name=" ")
    assert set(invalid.value.details) == {"ErrorInfo", "BadRequest"}
    assert (invalid.value.details["ErrorInfo"].domain, invalid.value.reason) == ("zcloud", "INVALID_FIELD")
    with pytest.raises(ApiError) as absent:
        admin.call("GetZone", uuid="f" * 32)
    assert absent.value.details["ResourceInfo"].resource_type == "zone"
    zone = admin.call("CreateZone", name="z").inventory.uuid
    cluster = admin.call("CreateCluster", name="c", zone_uuid=zone).inventory.uuid
    with pytest.raises(ApiError) as wrong_now:
        admin.call(
            "AddSimulatorHost",
            name="h",
            cluster_uuid=cluster,
            management_ip="h.invalid",
            cpu_num=1,
            memory_size=4 << 30,
        )
    failure = wrong_now.value.details["PreconditionFailure"].violations[0]
    assert (failure.type, wrong_now.value.reason) == ("NOT_SUPPORTED", "NOT_SUPPORTED")
    with pytest.raises(ApiError) as moved:
        admin.call("UpdateZone", {"zcloud-if-version": "9"}, uuid=zone, name="y")
    assert "RetryInfo" not in moved.value.details  # the same version will never be the current one again


def test_what_a_caller_sent_is_shown_on_one_line(server: ServerProcess) -> None:
    with pytest.raises(ApiError) as refused:
        server.admin.call("CreateZone", name="a\nERROR forged")
    assert refused.value.message == 'name is "a\\nERROR forged", but must be text without control characters'


def test_a_message_that_is_too_big_is_refused_and_the_server_lives(server: ServerProcess) -> None:
    admin = server.admin
    with pytest.raises(ApiError) as refused:
        admin.call("CreateZone", name="z", description="x" * (5 << 20))
    assert refused.value.code == "RESOURCE_EXHAUSTED"
    admin.call("QueryZone")


def test_what_does_not_exist_is_unimplemented(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.address, options=CHANNEL) as channel:
        for path in (
            "/zcloud.v1.ZoneService/Frobnicate",
            "/zcloud.v1.AgentService/Connect",
            "/zcloud.v1.AgentService/Enroll",
        ):
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(path)(b"", timeout=60)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_first_password_is_the_owners_alone(server: ServerProcess) -> None:
    for name in ("admin-password", "vault.key", "pki/ca.key"):
        assert (server.directory / name).stat().st_mode & 0o777 == 0o600, name


def test_a_stopped_server_ends_well(tmp_path: Path) -> None:
    made = ServerProcess(tmp_path / "data")
    try:
        made.start()
        password = made.admin_password
        made.admin.call("CreateZone", name="z")
        assert made.stop() == 0
        made.start()
        assert made.admin_password == password
        assert made.admin.call("QueryZone", count=True).total == 1
    finally:
        made.stop()


@pytest.mark.parametrize("door", ["--listen", "--listen-agents"])
def test_a_port_that_is_taken_is_said_in_a_line(server: ServerProcess, tmp_path: Path, door: str) -> None:
    """Two servers on a port would share its callers, and hosts' agents would come to either."""
    taken = {
        "--listen": server.address,
        "--listen-agents": re.findall(r"agents on (\S+)", server.output.read_text())[-1],
    }
    doors = {"--listen": "127.0.0.1:0", "--listen-agents": "127.0.0.1:0", "--listen-enrolment": "127.0.0.1:0"}
    argv = [sys.executable, "-m", "zcloud.cli.main", "serve", "--data", str(tmp_path / "other"), "--log-level", "error"]
    for option, address in {**doors, door: taken[door]}.items():
        argv += [option, address]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        f"zcloud: serve: cannot listen on {taken[door]}: something listens there already,"
        " or this machine has no such address\n"
    )
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (tmp_path / "other").rglob("*")} == {0}


@pytest.mark.parametrize("option", ["--listen-agents", "--listen-enrolment"])
@pytest.mark.parametrize("address", ["0.0.0.0:50052", "[::]:50052", ":50052"])
def test_hosts_are_told_an_address_that_they_can_dial(
    option: str, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """HST-03: all addresses of this machine are the host's own, over there."""
    with pytest.raises(SystemExit):
        main(["serve", "--data", str(tmp_path / "data"), option, address])
    assert f"{option} {address}: agents are told this address" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
