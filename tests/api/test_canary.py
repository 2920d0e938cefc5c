"""Secrets sent through every RPC that takes one are found in nothing that the server writes or says."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.api.conftest import Furnished
from tests.api.requests import good_message, put, rules, secrets
from tests.support.cloud import ApiError, ServerProcess
from tests.support.sshd import sshd
from zcloud.api.rpcs import Rpc, rpcs
from zcloud.v1 import options_pb2 as o

__all__ = ["sshd"]
pytestmark = pytest.mark.real
# Where secrets must be: the key that seals the others, the first password, the keys of the authority.
KEPT = ("vault.key", "admin-password", "ca.key")
TAKE = [r for n, r in sorted(rpcs().items()) if secrets(r.request.DESCRIPTOR) and r.access != o.ACCESS_AGENT]


def forms(secret: bytes) -> Iterator[bytes]:
    """As it is, in hex, in base64 wherever it begins."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret)
        cut = encoded[4 if before else 0 : -4]
        yield cut
        yield cut.translate(bytes.maketrans(b"+/", b"-_"))


def test_forms_find_what_they_are_for() -> None:
    secret = b"canary-0123456789"
    for text in (secret, secret.hex().encode(), *(base64.b64encode(b"x" * n + secret + b"yz") for n in range(4))):
        assert any(form in text for form in forms(secret))


class Canaries:
    """Secrets that were sent, and all that was said in answer."""

    def __init__(self) -> None:
        self.sent: dict[str, str] = {}
        self.said: list[str] = []

    def hatch(self, what: str) -> str:
        self.sent[what] = f"canary-{uuid.uuid4().hex}"
        return self.sent[what]

    def call(self, client: Any, name: str, request: Any, meta: dict[str, str] | None = None) -> Any:
        """Whatever comes of it."""
        try:
            answer = client.send(name, request, meta or {})
        except ApiError as error:
            self.said.append(error.told)
            return None
        for field in answer.DESCRIPTOR.fields:  # a token that was asked for is not said to anybody else
            if rules(field).secret:
                self.sent[f"{name} {field.name}"] = getattr(answer, field.name)
                answer.ClearField(field.name)
        if name == "LogInByAccount":
            self.sent[f"token of {len(self.sent)}"] = answer.inventory.token
            answer.inventory.token = ""
        self.said.append(str(answer))
        return answer

    def found_in(self, text: bytes) -> list[str]:
        return [what for what, secret in self.sent.items() if any(form in text for form in forms(secret.encode()))]


def send_all(canaries: Canaries, cloud: Furnished, rpc: Rpc) -> None:
    """Each secret of an RPC, in calls that succeed, are previewed, are refused and are sent twice."""
    for field in secrets(rpc.request.DESCRIPTOR):
        for n, meta in enumerate(({"zcloud-validate-only": "true"}, {"zcloud-request": f"{rpc.name} {field.name}"})):
            request = good_message(rpc.request, cloud.known, salt=f"c{n}")
            for name in ("hostname", "management_ip"):
                if name in request.DESCRIPTOR.fields_by_name:
                    setattr(request, name, "127.0.0.1")
            if "ssh_port" in request.DESCRIPTOR.fields_by_name:
                request.ssh_port = 1  # nobody listens: the job fails, and says why
            put(request, field, canaries.hatch(f"{rpc.name} {field.name} {n}"))
            answer = canaries.call(cloud.admin, rpc.name, request, meta)
            canaries.call(cloud.admin, rpc.name, request, meta)
            if answer is not None and getattr(answer, "job_uuid", ""):
                canaries.said.append(str(cloud.admin.wait(answer.job_uuid)))
        request = good_message(rpc.request, cloud.known)
        put(request, field, canaries.hatch(f"{rpc.name} {field.name} too long") * 2000)
        canaries.call(cloud.admin, rpc.name, request)
        put(request, field, canaries.hatch(f"{rpc.name} {field.name} control") + "\x00")
        canaries.call(cloud.admin, rpc.name, request)


def written(directory: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name not in KEPT:
            yield str(path.relative_to(directory)), path.read_bytes()


def test_no_secret_is_found_anywhere(tmp_path: Path, sshd: PrivateSshd) -> None:
    canaries = Canaries()
    server = ServerProcess(tmp_path / "data", arguments=["--log-level", "debug"])
    try:
        server.start()
        cloud = Furnished(server, server.admin)
        cloud.furnish()
        kvm = cloud.admin.call("CreateCluster", name="kvm", zone_uuid=cloud.known["zone"]).inventory.uuid
        host = {"name": "h", "management_ip": "127.0.0.1", "ssh_port": 1, "username": "root", "cluster_uuid": kvm}
        for secret in ("password", "private_key"):
            added = cloud.admin.call("AddKvmHost", **host, **{secret: canaries.hatch(f"host {secret}")})
            canaries.said.append(str(cloud.admin.wait(added.job_uuid)))
        key_lines = sshd.client_key.splitlines()
        canaries.sent["the key that works"] = key_lines[len(key_lines) // 2]
        storage = cloud.admin.call(
            "AddSftpBackupStorage",
            name="real",
            url=str(tmp_path / "sftp"),
            hostname="127.0.0.1",
            ssh_port=sshd.port,
            username="root",
            private_key=sshd.client_key,
        )
        job = cloud.admin.wait(storage.job_uuid)
        assert job.state == job.STATE_SUCCEEDED, job
        cloud.known["sftp_backup_storage"] = cloud.known["backup_storage"] = storage.inventory.uuid
        for rpc in TAKE:
            send_all(canaries, cloud, rpc)
        canaries.sent["the admin's password"] = server.admin_password
        canaries.sent["the admin's session"] = cloud.admin.token
        canaries.call(cloud.admin, "IssueEnrollToken", b"", {"zcloud-request": "token"})
        for name in ("admin", "nobody"):
            request = {"account_name": name, "password": canaries.hatch(f"wrong password of {name[:5]}")}
            with pytest.raises(ApiError) as refused:
                server.anonymous.call("LogInByAccount", **request)
            canaries.said.append(refused.value.told)
        forged = type(cloud.admin)(cloud.admin.channel, canaries.hatch("a forged token"))
        canaries.call(forged, "QueryZone", b"")
        canaries.said += [str(answer) for answer in watch_all(cloud)]
        for name in rpcs():
            if name.startswith("Query"):
                canaries.said.append(str(cloud.admin.call(name, page_size=1000)))
        running = list(written(server.directory))
        assert {"log.db-wal", "views.db"} & {name for name, _ in running}
        server.stop()
        assert len(canaries.sent) > 4 * len(TAKE)
        everything = [*running, *written(server.directory), ("output", server.output.read_bytes())]
        # A name is no secret, and is found: the search finds what is there.
        assert any(cloud.known["zone"].encode() in data for _, data in everything)
        found = {(name, what) for name, data in everything for what in canaries.found_in(data)}
        assert not found
        assert not canaries.found_in("\n".join(canaries.said).encode())
    finally:
        server.stop()


def watch_all(cloud: Furnished) -> list[Any]:
    """Every event there is, as callers see it."""
    cloud.admin.call("QueryZone")
    found = []
    for answer in cloud.admin.stream("WatchEvents"):
        found.append(answer)
        if answer.position == cloud.admin.position:
            return found
    raise AssertionError("the stream ended")
