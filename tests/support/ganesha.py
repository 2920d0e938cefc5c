"""A real NFS server for a test: nfs-ganesha in a network and mount namespace of its own, gone whatever happens."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.namespace import Namespace

CONFIG = """\
NFS_CORE_PARAM { Protocols = 3,4; Enable_NLM = false; Enable_RQUOTA = false; }
NFSv4 { RecoveryBackend = fs; Grace_Period = 1; Lease_Lifetime = 10; RecoveryRoot = "%(rec)s"; }
EXPORT_DEFAULTS { Access_Type = RW; Squash = No_Root_Squash; SecType = sys; }
EXPORT { Export_Id = 1; Path = "%(exp)s"; Pseudo = "%(exp)s"; FSAL { Name = VFS; } }
LOG { Default_Log_Level = EVENT; }
"""
# What the daemons expect to find below /run.
RUN = 'mount --bind "$1/run" /run && mkdir -p /run/rpcbind /run/ganesha && rpcbind -w && ' + (
    'exec ganesha.nfsd -F -f "$1/config" -L "$1/log" -p "$1/pid"'
)
START_SECONDS = 60.0


@dataclass(frozen=True)
class Ganesha:
    """directory is what it exports, as the machine sees it."""

    address: str
    directory: Path

    @property
    def url(self) -> str:
        return f"{self.address}:{self.directory}"


@contextlib.contextmanager
def running_ganesha(inside: Namespace) -> Iterator[Ganesha]:
    """The server of this machine of the test."""
    base = Path(tempfile.mkdtemp(prefix="znfs-", dir="/tmp"))
    try:
        for name in ("exp", "run", "rec"):
            (base / name).mkdir()
        (base / "config").write_text(CONFIG % {"rec": base / "rec", "exp": base / "exp"})
        argv = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", RUN, "sh", str(base)]
        with open(base / "output", "wb") as output:
            inside.start(argv, output)
        end = time.monotonic() + START_SECONDS
        while not _listens(inside):
            assert time.monotonic() < end, (base / "output").read_text() + (base / "log").read_text()
            time.sleep(0.05)
        yield Ganesha(inside.address, base / "exp")
    finally:
        inside.kill_all()
        shutil.rmtree(base, ignore_errors=True)


def _listens(inside: Namespace) -> bool:
    """Both the door and its entry with the port mapper, which clients ask first."""
    argv = inside.command(["ss", "-Hltn", "sport", "=", ":2049"])
    return bool(subprocess.run(argv, capture_output=True, check=True).stdout.strip())
