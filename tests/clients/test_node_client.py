"""A client that shares nothing with us but the .proto files: Node.js with grpc-js."""

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).parent / "node"
FILES = ("package.json", "package-lock.json", "zones.js")


@pytest.fixture(scope="session")
def node_client() -> Path:
    """The client with its packages from the npm registry, installed once for each state of the lock file."""
    folder = ROOT / "var" / "node-client"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test runs side by side share the folder
        for name in FILES:
            shutil.copy(SOURCE / name, folder / name)
        stamp = folder / ".installed"
        wanted = (SOURCE / "package-lock.json").read_text()
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            argv = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
            subprocess.run(argv, cwd=folder, check=True, timeout=240)
            stamp.write_text(wanted)
    return folder


def run_client(folder: Path, address: str, password: str, zone: str) -> subprocess.CompletedProcess[str]:
    argv = ["node", str(folder / "zones.js"), address, str(ROOT / "proto"), zone]
    # Calls to this machine are nobody's to forward.
    environment = {**os.environ, "no_grpc_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}
    return subprocess.run(argv, input=password, capture_output=True, text=True, timeout=120, env=environment)


def test_a_zone_is_created_and_found_from_node(node_client: Path, server: Any) -> None:
    done = run_client(node_client, server.address, server.admin_password, "zone of node")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    zone = told["created"]
    assert len(zone["uuid"]) == 32
    assert (zone["name"], zone["state"]) == ("zone of node", "STATE_ENABLED")
    assert [found["uuid"] for found in told["queried"]["inventories"]] == [zone["uuid"]]
    assert told["queried"]["total"] == 1
    assert told["refusal"]["code"] == "INVALID_ARGUMENT"
    assert "name" in told["refusal"]["message"]


def test_a_wrong_password_gives_node_no_session(node_client: Path, server: Any) -> None:
    done = run_client(node_client, server.address, "not the password", "never")
    assert done.returncode == 1
    assert "UNAUTHENTICATED" in done.stderr
    assert "not the password" not in done.stderr
