"""Files of a node that are damaged, empty or gone: what is not the log is begun anew, and nothing is taken for it."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile, copytree

import pytest

from tests.support.cloud import ApiError, ServerProcess, running_node
from zcloud.domain.storage.sftp_backup_storage import SftpBackupStorage
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.unit import Unit
from zcloud.kernel.vault import Vault

ZONES = 30


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a node that was stopped, with some zones in it."""
    server = ServerProcess(tmp_path_factory.mktemp("before") / "data")
    server.start()
    try:
        admin = server.admin
        for number in range(ZONES):
            admin.call("CreateZone", name=f"z{number}")
        assert admin.call("QueryOperationLog", filter="name = CreateZone", count=True).total == ZONES
    finally:
        assert server.stop() == 0
    return server.directory


@pytest.fixture
def server(before: Path, tmp_path: Path) -> ServerProcess:
    """Not started yet."""
    copytree(before, tmp_path / "data")
    return ServerProcess(tmp_path / "data")


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def scribbled(path: Path) -> None:
    path.write_bytes(b"what was never a database" * 400)


def unreadable(path: Path, table: str) -> None:
    """One table of it, which nobody sees who looks at its beginning."""
    with sqlite3.connect(path) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


@pytest.mark.parametrize("damage", [halved, scribbled])
def test_read_models_that_are_damaged_are_filled_anew(server: ServerProcess, damage: Callable[[Path], None]) -> None:
    damage(server.directory / "views.db")
    server.start()
    try:
        assert server.admin.call("QueryZone", count=True).total == ZONES
        assert "views.db was damaged" in server.output.read_text()
    finally:
        assert server.stop() == 0


def test_damage_that_is_met_later_is_told_and_gone_after_a_restart(server: ServerProcess) -> None:
    unreadable(server.directory / "views.db", "zone")
    server.start()
    try:
        with pytest.raises(ApiError, match="restart this node") as refused:
            server.admin.call("QueryZone")
        assert refused.value.code == "UNAVAILABLE"
        server.stop()
        server.start()
        assert server.admin.call("QueryZone", count=True).total == ZONES
    finally:
        assert server.stop() == 0


def test_a_node_that_can_not_get_ready_ends_when_it_is_told(server: ServerProcess) -> None:
    unreadable(server.directory / "views.db", "projection")
    with pytest.raises(RuntimeError, match="does not serve"):
        server.start(0.1)
    until = time.monotonic() + 60
    while "views.db is damaged" not in server.output.read_text() and time.monotonic() < until:
        time.sleep(0.05)
    assert server.stop() == 0
    assert "views.db is damaged" in server.output.read_text()
    server.start()
    assert server.stop() == 0


@pytest.mark.parametrize("damage", [halved, scribbled])
def test_a_log_of_calls_that_is_damaged_is_put_aside(server: ServerProcess, damage: Callable[[Path], None]) -> None:
    damage(server.directory / "calls.db")
    was = (server.directory / "calls.db").read_bytes()
    server.start()
    try:
        server.admin.call("CreateZone", name="another")
        assert server.admin.call("QueryOperationLog", filter="name = CreateZone", count=True).total == 1
        assert (server.directory / "calls-damaged-1.db").read_bytes() == was
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("damage", [halved, scribbled])
def test_a_damaged_log_is_named_with_what_to_do(server: ServerProcess, damage: Callable[[Path], None]) -> None:
    damage(server.directory / "log.db")
    with pytest.raises(RuntimeError, match="ended with 1"):
        server.start()
    said = server.output.read_text()
    assert re.search(r"serve: the log .*log\.db can't be opened: .*put the last backup in its place", said)
    assert "Traceback" not in said


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 0)], ids=["gone", "empty"])
def test_no_other_cloud_is_begun_where_the_log_is_missing(
    server: ServerProcess, damage: Callable[[Path], None]
) -> None:
    views = (server.directory / "views.db").read_bytes()
    damage(server.directory / "log.db")
    with pytest.raises(RuntimeError, match="ended with 1"):
        server.start()
    assert "there is no log at" in server.output.read_text()
    assert (server.directory / "views.db").read_bytes() == views


def test_a_key_that_is_none_is_refused(server: ServerProcess) -> None:
    for wrong in (b"", b"x" * 33):
        (server.directory / "vault.key").write_bytes(wrong)
        with pytest.raises(RuntimeError, match="ended with 1"):
            server.start()
        assert f"vault.key is no key: it has {len(wrong)} bytes" in server.output.read_text()


def test_another_key_is_told(server: ServerProcess) -> None:
    (server.directory / "vault.key").unlink()
    server.start()
    assert server.stop() == 0
    assert "secrets in this log were sealed with key" in server.output.read_text()


def test_a_first_start_that_the_power_cut_short_leaves_no_empty_password(tmp_path: Path) -> None:
    """The name of a file can be on disk before what is in it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "admin-password").touch()
    server = ServerProcess(tmp_path / "data")
    server.start()
    try:
        with pytest.raises(ApiError):
            server.anonymous.logged_in("admin", "")
        assert server.admin_password
        assert server.admin.call("QueryZone", count=True).total == 0
    finally:
        assert server.stop() == 0


def test_a_backup_is_restored_as_the_documents_say(before: Path, server: ServerProcess, tmp_path: Path) -> None:
    """After SIGKILL: what is in log.db-wal belongs to the file that it lay beside."""
    server.start()
    try:
        subprocess.run(["sqlite3", server.directory / "log.db", f".backup {tmp_path}/copy.db"], check=True)
        admin = server.admin
        for number in range(ZONES):
            admin.call("CreateZone", name=f"later{number}")
        assert admin.call("QueryZone", count=True).total == 2 * ZONES
        server.kill()
        assert (server.directory / "log.db-wal").stat().st_size
        for name in ("log.db-wal", "log.db-shm"):
            (server.directory / name).unlink()
        copyfile(tmp_path / "copy.db", server.directory / "log.db")
        server.start()
        assert server.admin.call("QueryZone", count=True).total == ZONES
        for number in range(2 * ZONES):
            server.admin.call("CreateZone", name=f"again{number}")
        assert server.admin.call("QueryZone", filter="name : later", count=True).total == 0
        assert server.admin.call("QueryZone", count=True).total == 3 * ZONES
    finally:
        assert server.stop() == 0
    with sqlite3.connect(server.directory / "log.db") as log:
        assert log.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_job_whose_secret_can_not_be_opened_ends_and_says_so(tmp_path: Path) -> None:
    """ARC-12: the key was lost; what was sealed with it is given anew, and then it goes on."""

    async def go() -> None:
        async with running_node(tmp_path) as api:
            node = api.node
            admin = (await api.call("QueryAccount")).inventories[0].uuid

            async def seed(unit: Unit) -> str:
                storage = await unit.new(SftpBackupStorage, account_uuid=admin)
                storage.create(
                    name="s", url="/bs", hostname="sftp.invalid", username="root", password=node.vault.seal("-")
                )
                return storage.uuid

            storage = str((await node.cloud.decide(Context(actor=SYSTEM), seed)).value)
            node.cloud.ports.update(vault=Vault(b"x" * 32))
            job = await api.wait((await api.call("ReconnectBackupStorage", uuid=storage)).job_uuid)
            assert job.state == job.STATE_FAILED
            assert "bring that vault.key back, or give the password" in job.error

    asyncio.run(go())
