"""A private PostgreSQL 15 in a temporary directory, for tests; it can be killed as a power cut would."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from tests.support.ports import free_port

BIN = Path("/usr/lib/postgresql/15/bin")
USER = "postgres"
# After a crash a server looks at every file of its own; on a busy machine that takes longer than the usual minute.
PATIENCE_SECONDS = 300


class PostgresCluster:
    """One server on this machine. initdb refuses root, so everything runs as postgres."""

    def __init__(self, primary: PostgresCluster | None = None, *, settings: str = "") -> None:
        """primary: whose standby this one is, until it is promoted. settings: more of them, as -c name=value."""
        self._settings = settings
        # Not below pytest's directories: only who runs the tests may enter those.
        self._directory = Path(tempfile.mkdtemp(prefix="zcloud-pg-", dir="/tmp"))
        self._data = self._directory / "data"
        self.port = free_port()
        self._databases = 0
        if os.getuid() == 0:
            user = pwd.getpwnam(USER)
            os.chown(self._directory, user.pw_uid, user.pw_gid)
        if primary is None:
            self._run("initdb", "-D", self._data, "-A", "trust", "-U", USER, "-N", "-E", "UTF8", "--locale=C.UTF-8")
        else:
            source = f"host=127.0.0.1 port={primary.port} user={USER} application_name=standby"
            self._run("pg_basebackup", "-D", self._data, "-d", source, "-R", "-X", "stream", "-c", "fast", "-N")
        self.start()

    def _run(self, program: str, *argv: object) -> None:
        """Insist that it succeeds."""
        as_user = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups"] if os.getuid() == 0 else []
        output = self._directory.with_suffix(".out")
        with output.open("ab") as file:  # a pipe would be held open by the server
            done = subprocess.run(
                [*as_user, str(BIN / program), *map(str, argv)], stdout=file, stderr=file, cwd="/tmp", check=False
            )
        assert done.returncode == 0, output.read_text()

    def start(self) -> None:
        """Serve; after kill() what was committed is recovered first."""
        options = f"-p {self.port} -c unix_socket_directories= -c listen_addresses=127.0.0.1 -c max_connections=200"
        # What a table is like, and so how it is read, must not change while a test looks at it.
        options += " -c autovacuum=off"
        options += f" -c shared_buffers=64MB -c log_min_messages=fatal {self._settings}"
        self._run(
            "pg_ctl",
            "-D",
            self._data,
            "-o",
            options,
            "-w",
            "-t",
            PATIENCE_SECONDS,
            "-l",
            self._directory / "log",
            "start",
        )

    def promote(self) -> None:
        """A standby writes from now on."""
        self._run("pg_ctl", "-D", self._data, "-w", "-t", PATIENCE_SECONDS, "promote")

    def in_step(self) -> bool:
        """Whether a standby confirms every commit of this one."""
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            return bool(connection.execute("SELECT FROM pg_stat_replication WHERE sync_state = 'sync'").fetchall())

    @property
    def _postmaster(self) -> int:
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def kill(self) -> None:
        """Every process of it at once, in the middle of whatever it does."""
        pids = self._everyone(signal.SIGKILL)
        while any(_alive(pid) for pid in pids):
            time.sleep(0.01)
        (self._data / "postmaster.pid").unlink()  # the number in it may be another's by the next start

    def pause(self) -> None:
        """Let every process of it stand still; connections stay open and nobody answers."""
        self._everyone(signal.SIGSTOP)

    def go_on(self) -> None:
        """The end of a pause."""
        self._everyone(signal.SIGCONT)

    def _everyone(self, number: int) -> list[int]:
        postmaster = self._postmaster
        _signal(postmaster, signal.SIGSTOP)  # so that it starts no others meanwhile
        while _state(postmaster) not in "TZ":  # which takes it a moment
            time.sleep(0.001)
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        pids = [*map(int, children), postmaster]
        for pid in pids:
            _signal(pid, number)
        return pids

    def database(self) -> str:
        """A new empty database; its address."""
        self._databases += 1
        name = f"test_{self._databases}"
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.address(name)

    def address(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def remove(self) -> None:
        """Leave nothing behind, in whatever state it is."""
        with contextlib.suppress(FileNotFoundError):  # it runs no longer
            self.kill()
        shutil.rmtree(self._directory)
        self._directory.with_suffix(".out").unlink()


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _alive(pid: int) -> bool:
    return _state(pid) != "Z"


def _state(pid: int) -> str:
    """As the kernel has it; Z also for one that is gone altogether."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"
