"""Three machines under Patroni: etcd on each, PostgreSQL on two; any may die, stand still, and come back."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.support.ports import free_port
from tests.support.postgres import USER

SETTINGS = Path(__file__).with_name("patroni.yml")
# Long enough for a machine that is busy with other things; failing over takes `ttl` at most.
PATIENCE_SECONDS = 300.0
# How its Patroni calls a server that does what it should, of either version that was tried.
GOOD = ("running", "streaming")


class Machine:
    """etcd, and where it has a port for it a PostgreSQL with its Patroni."""

    def __init__(self, base: Path, name: str, *, database: bool) -> None:
        self.name = name
        self.database = database
        self.directory = base / name
        self.directory.mkdir()
        user = pwd.getpwnam(USER)
        os.chown(self.directory, user.pw_uid, user.pw_gid)
        self.client, self.peer, self.port, self.api = (free_port() for _ in range(4))
        self._started: list[subprocess.Popen[bytes]] = []

    def configure(self, machines: list[Machine]) -> None:
        """Who the others are."""
        self._members = ",".join(f"{m.name}=http://127.0.0.1:{m.peer}" for m in machines)
        etcd = ", ".join(f"127.0.0.1:{m.client}" for m in machines)
        values = {"name": self.name, "api_port": self.api, "port": self.port, "directory": self.directory, "etcd": etcd}
        (self.directory / "patroni.yml").write_text(SETTINGS.read_text().format(**values))

    def start(self) -> None:
        """As it starts with the machine."""
        client, peer = f"http://127.0.0.1:{self.client}", f"http://127.0.0.1:{self.peer}"
        etcd = ["etcd", "--name", self.name, "--data-dir", f"{self.directory}/etcd", "--log-level", "error"]
        etcd += ["--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer]
        etcd += ["--initial-advertise-peer-urls", peer, "--initial-cluster", self._members]
        # The processors of a test are more than busy.
        etcd += ["--heartbeat-interval", "500", "--election-timeout", "5000"]
        self._spawn("etcd", etcd)
        if self.database:
            as_user = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups"]
            self._spawn("patroni", [*as_user, "patroni", f"{self.directory}/patroni.yml"])

    def _spawn(self, name: str, argv: list[str]) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            made = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/tmp")
        self._started.append(made)

    def kill(self) -> None:
        """As a power cut would: everything at once."""
        everyone = self._everyone()
        _signal(everyone, signal.SIGSTOP)
        _signal(everyone, signal.SIGKILL)
        for process in self._started:
            process.wait()
        self._started = []
        while any(_alive(pid) for pid in everyone):
            time.sleep(0.01)
        (self.directory / "data" / "postmaster.pid").unlink(missing_ok=True)  # its number may be another's by now

    def kill_database(self) -> None:
        """PostgreSQL alone; Patroni finds it dead."""
        _signal(_tree(self._postmaster()), signal.SIGKILL)

    def pause(self) -> None:
        """Nothing of it goes on; connections stay open."""
        _signal(self._everyone(), signal.SIGSTOP)

    def go_on(self) -> None:
        """The end of a pause."""
        _signal(self._everyone(), signal.SIGCONT)

    def _postmaster(self) -> int:
        try:
            return int((self.directory / "data" / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return 0

    def _everyone(self) -> list[int]:
        roots = [*(process.pid for process in self._started), self._postmaster()]
        return [pid for root in roots if root for pid in _tree(root)]

    def members(self) -> dict[str, dict[str, Any]]:
        """What its Patroni says of both."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.api}/cluster", timeout=5) as answer:
            return {member["name"]: member for member in json.load(answer)["members"]}


class Pair:
    """Both databases, by names of machines."""

    def __init__(self, base: Path) -> None:
        self.all = [Machine(base, f"db{n}", database=n < 3) for n in (1, 2, 3)]
        for machine in self.all:
            machine.configure(self.all)
        self.databases = {m.name: m for m in self.all if m.database}
        hosts = ",".join(f"127.0.0.1:{m.port}" for m in self.databases.values())
        self.store = f"postgresql://zcloud:secret@{hosts}/zcloud"
        self._admin = f"postgresql://postgres:secret@{hosts}/postgres?target_session_attrs=read-write"

    def start(self) -> None:
        """Returns when there is a synchronous pair with an empty database."""
        for machine in self.all:
            machine.start()
        self.whole()
        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute("CREATE ROLE zcloud LOGIN PASSWORD 'secret'")
            connection.execute("CREATE DATABASE zcloud OWNER zcloud")

    def leader(self) -> str:
        """Who writes, as whoever answers of both sees it; "" while nobody does."""
        for machine in self.databases.values():
            with contextlib.suppress(OSError, ValueError):
                members = machine.members().values()
                return next((m["name"] for m in members if m["role"] == "leader" and m["state"] == "running"), "")
        return ""

    def other(self, name: str) -> str:
        """The second of two."""
        return next(other for other in self.databases if other != name)

    def leads(self, name: str) -> None:
        """Wait until this one writes."""
        _wait(lambda: self.leader() == name, f"{name} leads")

    def whole(self) -> None:
        """Wait until one writes and the other confirms, and Patroni has noted that it may take over."""

        def noted() -> bool:
            with contextlib.suppress(OSError, ValueError):
                members = next(iter(self.databases.values())).members().values()
                return {m["role"] for m in members if m["state"] in GOOD} == {"leader", "sync_standby"}
            return False

        _wait(noted, "the pair is whole")

    def switch(self) -> None:
        """As an operator does, who wants to work on the one that writes."""
        leader = self.leader()
        settings = f"{self.databases[leader].directory}/patroni.yml"
        argv = ["patronictl", "-c", settings, "switchover", "zcloud", "--force", "--candidate", self.other(leader)]

        def switched() -> bool:
            """It is refused for a moment after a standby has come back; patronictl only says so."""
            return "Successfully switched over" in subprocess.run(argv, capture_output=True, text=True).stdout

        _wait(switched, "patronictl has switched over")

    def said(self) -> str:
        """The end of what Patroni and etcd wrote."""
        logs = [log for machine in self.all for log in sorted(machine.directory.glob("*.log"))]
        return "\n".join(f"-- {log}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)


@contextlib.contextmanager
def running_pair() -> Iterator[Pair]:
    """Gone afterwards, whatever has become of it."""
    missing = [program for program in ("patroni", "patronictl", "etcd") if not shutil.which(program)]
    assert not missing, f"there is no {', '.join(missing)}: apt-get install --no-install-recommends patroni etcd-server"
    base = Path(tempfile.mkdtemp(prefix="zcloud-patroni-", dir="/tmp"))
    base.chmod(0o755)
    pair = Pair(base)
    try:
        pair.start()
        yield pair
    except BaseException:
        print(pair.said())
        raise
    finally:
        for machine in pair.all:
            machine.kill()
        shutil.rmtree(base)


def _wait(condition: Any, what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE_SECONDS:.0f} s: {what}"
        time.sleep(0.2)


def _tree(pid: int) -> list[int]:
    """A process, and all below it."""
    found, new = [pid], [pid]
    while new:
        below = Path(f"/proc/{new.pop()}/task")
        with contextlib.suppress(OSError):
            for children in below.glob("*/children"):
                pids = [*map(int, children.read_text().split())]
                found += pids
                new += pids
    return found


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
