"""What an agent finds of what is mounted for storages, and what it does about it (PS-07, PS-08)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.runtime.outbox import merged
from agents.runtime.task import TaskError, Work
from agents.storage import bounded, mounts
from agents.storage.handlers import host_handlers
from agents.storage.mounts import Mount, StorageMounts, mark_of
from agents.storage.nfs import client
from agents.storage.watched import StorageWatch
from tests.support.ganesha import Ganesha, running_ganesha
from tests.support.namespace import free_subnet, new_switch
from zcloud.v1.agent_pb2 import HostInventory
from zcloud.v1.primary_storage_task_pb2 import (
    PrepareNfsStorageTask,
    PrepareSharedMountPointTask,
    ReleasePrimaryStorageTask,
    StorageMountSeen,
)

UUID = "5" * 32


class Host:
    """The storage tasks of one agent, and what it tells by itself."""

    def __init__(self) -> None:
        self.watched = StorageWatch()
        self._handlers = {handler.task: handler for handler in host_handlers(self.watched)}

    async def do(self, task: Any) -> Any:
        work = Work("t" * 32, "r" * 32, 1, lambda percent, detail: None)
        return await self._handlers[type(task)].run(task, work)

    async def news(self) -> list[str]:
        return [seen.error for seen in await self.watched.mounts.news()]


async def refusal(doing: Any) -> TaskError:
    with pytest.raises(TaskError) as error:
        await doing
    return error.value


def test_what_an_operator_has_mounted_is_only_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        host = Host()
        prepare = PrepareSharedMountPointTask(primary_storage_uuid=UUID, url=str(tmp_path), first=True)
        await host.do(prepare)
        assert await host.news() == []
        mark = mark_of(tmp_path, UUID)
        mark.unlink()
        (error,) = await host.news()
        assert f"it lacks {mark.name}" in error
        assert await host.news() == [], "the same again is no news"
        assert not await host.watched.mounts.mend()
        (told,) = host.watched.add_to(HostInventory(complete=True)).storage_mounts
        assert told.error == error
        mark.touch()
        assert await host.news() == [""]
        (told,) = host.watched.add_to(HostInventory()).storage_mounts
        assert told.total_capacity > told.available_capacity > 0
        # What waits to be sent is not lost by what comes after it.
        waiting = HostInventory(storage_mounts=[StorageMountSeen(primary_storage_uuid=UUID, error="x")])
        assert list(merged(waiting, HostInventory()).storage_mounts) == list(waiting.storage_mounts)
        assert list(merged(waiting, HostInventory(storage_mounts=[told])).storage_mounts) == [told]

        # It hangs: nobody hangs with it, and one thread is lost at most.
        answers = threading.Event()
        began: list[Mount] = []

        def hangs(mount: Mount) -> tuple[int, int]:
            began.append(mount)
            answers.wait(60)
            return 10, 5

        with monkeypatch.context() as hanging:
            hanging.setattr(bounded, "ANSWER_SECONDS", 0.05)
            hanging.setattr(Mount, "measure", hangs)
            (error,) = await host.news()
            assert "does not answer" in error
            assert await host.news() == []
            assert (await refusal(host.do(prepare))).reason == "UNREACHABLE"
            # A host that connects is not held up: it says so, and tells once it answers, whatever it did before.
            host.watched.forget(UUID)
            connect = PrepareSharedMountPointTask(primary_storage_uuid=UUID, url=str(tmp_path), connecting=True)
            assert "does not answer" in (await host.do(connect)).error
            connect.first = True
            other = Host()
            assert "ReconnectPrimaryStorage" in (await other.do(connect)).error
            assert not other.watched.add_to(HostInventory()).storage_mounts
            assert len(began) == 2
            answers.set()
            end = asyncio.get_running_loop().time() + 60
            while await host.news() != [""]:
                assert asyncio.get_running_loop().time() < end
        wrong = PrepareSharedMountPointTask(primary_storage_uuid=UUID, url=str(tmp_path / "none"), connecting=True)
        assert "mount the shared file system" in (await Host().do(wrong)).error
        await host.do(ReleasePrimaryStorageTask(primary_storage_uuid=UUID))
        assert os.listdir(tmp_path) == [mark.name]
        assert not host.watched.add_to(HostInventory()).storage_mounts

    asyncio.run(main())


def test_a_mount_that_is_given_up_goes_on_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PS-07: what the program that mounts has begun ends with it."""
    told = tmp_path / "pid"
    programs = {"mount": f"sleep 300 & echo $! > {told}.new; mv {told}.new {told}; wait", "mount.nfs": ""}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(client, "PATH", f"{tmp_path}:{client.PATH}")

    async def there() -> bool:
        return True

    def ends(pid: str) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
        except OSError:
            return True

    async def main() -> None:
        mounting = asyncio.create_task(client.mount("server:/export", "", tmp_path))
        async with asyncio.timeout(60):
            while not told.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            mounting.cancel()
            await asyncio.gather(mounting, return_exceptions=True)
            while not ends(told.read_text().strip()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    monkeypatch.setattr(client, "_kernel_has_it", there)
    asyncio.run(main())


def test_who_has_a_file_open_is_found_among_those_that_end_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another ends when it is known to be there, and before its files are looked at."""
    listed = os.listdir
    others = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]

    def ending(path: str) -> list[str]:
        found = listed(path)
        for other in others if path == "/proc" else ():
            other.kill()
            other.wait()
        return [*(str(other.pid) for other in others), *found] if path == "/proc" else found

    (tmp_path / "volume").touch()
    with has_open(tmp_path / "volume"), monkeypatch.context() as patched:
        patched.setattr(os, "listdir", ending)
        assert client.user_of(tmp_path) == str(os.getpid())
    assert client.user_of(tmp_path) == ""


def test_what_is_unmounted_by_another_meanwhile_is_unmounted(tmp_path: Path) -> None:
    asyncio.run(client.unmount(tmp_path))
    asyncio.run(client.discard(tmp_path))


def test_looking_goes_on_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told of before it is mounted anew, and after; what goes wrong at one look is not the end of looking."""
    monkeypatch.setattr(mounts, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(mounts, "TELL_SECONDS", 0.0)
    calls: list[str] = []

    class Faulty(StorageMounts):
        async def news(self) -> list[StorageMountSeen]:
            calls.append("look")
            if len(calls) == 1:
                raise RuntimeError("as ordered")
            if calls.count("mend") == 0:
                self._faults[UUID] = 5
                return [StorageMountSeen(primary_storage_uuid=UUID, error="gone")]
            self._faults.clear()
            return [StorageMountSeen(primary_storage_uuid=UUID)] if calls[-2] == "mend" else []

        async def mend(self) -> bool:
            calls.append("mend")
            return True

    async def main() -> None:
        changes: asyncio.Queue[HostInventory] = asyncio.Queue()
        task = asyncio.create_task(Faulty().report(changes))
        told = [await asyncio.wait_for(changes.get(), 60) for _ in range(2)]
        task.cancel()
        assert [one.storage_mounts[0].error for one in told] == ["gone", ""]
        assert calls[:4] == ["look", "look", "mend", "look"]

    asyncio.run(main())


@pytest.fixture
def server() -> Iterator[Ganesha]:
    with new_switch(free_subnet()) as switch, running_ganesha(switch.machine("storage")) as made:
        yield made


def stand_ins(path: Path) -> list[int]:
    """Processes that have it mounted."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0") if entry.isdigit() else []
            if b"agents.storage.nfs.fuse" in words and os.fsencode(path) in words:
                found.append(int(entry))
    return found


async def stand_in(path: Path) -> int:
    """The only one: an earlier one may take a moment to end."""
    async with asyncio.timeout(60):
        while len(found := stand_ins(path)) != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found[0]


@contextlib.contextmanager
def has_open(path: Path) -> Iterator[int]:
    """As a guest has its disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)


async def silent_server(url: str, options: str, path: Path, *, seconds: float) -> None:
    raise TaskError("UNREACHABLE", f"{url} could not be mounted in {seconds} s; is its server there?")


async def told(host: Host, wanted: str) -> None:
    """Look until it is seen."""
    async with asyncio.timeout(60):
        while not any(wanted in error and bool(wanted) == bool(error) for error in await host.news()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.real
def test_an_export_that_is_gone_is_mounted_anew(
    server: Ganesha, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a real server, by libnfs: its process is killed, stops, and is unmounted by hand; then they part."""

    async def no() -> bool:
        return False

    monkeypatch.setattr(client, "_kernel_has_it", no)
    # A busy machine takes long to begin a process.
    monkeypatch.setattr(mounts, "AGAIN_SECONDS", 90.0)
    path = tmp_path / UUID
    prepare = PrepareNfsStorageTask(primary_storage_uuid=UUID, url=server.url, directory=str(path), first=True)
    release = ReleasePrimaryStorageTask(primary_storage_uuid=UUID, directory=str(path))

    async def main() -> None:
        host = Host()
        await host.do(prepare)
        (path / "volume").write_text("here")
        pid = await stand_in(path)
        with has_open(path / "volume") as guest:
            os.kill(pid, signal.SIGKILL)
            await told(host, "has ended")
            (seen,) = host.watched.add_to(HostInventory()).storage_mounts
            assert seen.ended_process
            # Who has a file open in what is dead only gets errors, whether or not it is mounted anew.
            assert await host.watched.mounts.mend()
            assert await host.news() == [""]
            (again,) = host.watched.add_to(HostInventory()).storage_mounts
            assert (again.error, again.ended_process) == ("", seen.ended_process), "who has a file open must know"
            with pytest.raises(OSError, match="not connected"):
                os.read(guest, 4)
        assert (path / "volume").read_text() == "here"

        await client.unmount(path)
        await told(host, "is not mounted")
        await host.watched.mounts.mend()
        assert await host.news() == [""]

        # It does not answer: it is waited for, and nobody mounts over it.
        pid = await stand_in(path)
        monkeypatch.setattr(bounded, "ANSWER_SECONDS", 0.3)
        os.kill(pid, signal.SIGSTOP)
        await told(host, "does not answer")
        assert not await host.watched.mounts.mend()
        os.kill(pid, signal.SIGCONT)
        await told(host, "")
        # Connecting, it is passed over, and not its host.
        os.kill(pid, signal.SIGSTOP)
        connect = PrepareNfsStorageTask(connecting=True)
        connect.MergeFrom(prepare)
        connect.first = False
        again = Host()
        assert "does not answer" in (await again.do(connect)).error
        os.kill(pid, signal.SIGCONT)
        await told(again, "")
        monkeypatch.setattr(bounded, "ANSWER_SECONDS", 60.0)
        # Nor where it cannot be mounted: it is, once it can.
        await client.unmount(path)
        mounting = client.mount
        monkeypatch.setattr(client, "mount", silent_server)
        assert "is its server there?" in (await again.do(connect)).error
        monkeypatch.setattr(client, "mount", mounting)
        await told(again, "is its server there?")
        assert await again.watched.mounts.mend()
        assert await again.news() == [""]
        monkeypatch.undo()
        pid = await stand_in(path)

        wrong = ReleasePrimaryStorageTask(primary_storage_uuid=UUID, directory=str(tmp_path))
        assert (await refusal(host.do(wrong))).reason == "INVALID"
        with has_open(path / "volume"):
            assert (await refusal(host.do(release))).reason == "REFUSED"
        await host.do(release)
        assert not path.exists()
        await host.do(release)
        assert (server.directory / "volume").read_text() == "here"

        # A server that is gone for good: nobody waits for it, but for who has files open there.
        await Host().do(prepare)
        pid = await stand_in(path)
        monkeypatch.setattr(bounded, "ANSWER_SECONDS", 0.3)
        with has_open(path / "volume"):
            os.kill(pid, signal.SIGSTOP)
            error = await refusal(host.do(release))
            assert (error.reason, f"process {os.getpid()}" in error.message) == ("REFUSED", True), error.message
            os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGSTOP)
        await Host().do(release)
        assert not client.mounted_at(path)
        os.kill(pid, signal.SIGCONT)

    try:
        asyncio.run(main())
    finally:
        for pid in stand_ins(path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while client.mounted_at(path):
            asyncio.run(client.discard(path))
