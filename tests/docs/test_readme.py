"""What README tells a newcomer to type, typed into a shell: first calls by two clients, and a cloud out of nothing.

Of what is typed only what is the reader's own is put in: addresses, directories, an image.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import pages
from tests.support.cloud import ServerProcess, running_server
from tests.support.sshd import running_sshd
from tests.support.web import running_web

pytestmark = pytest.mark.real

README = pages.ROOT / "README.md"
ADDRESS = "127.0.0.1:50051"
FIRST = f".venv/bin/zcloud serve --data var --listen {ADDRESS} &\n"
IMAGE = "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-nocloud-amd64.qcow2"
SIMULATOR = "zcloud agent simulator --cluster c1 --hosts 3 &"
# Whoever types is slower than the hosts are.
GONE = "{ cat simulator.out; exit 1; }"
CONNECTED = f'until grep -q "hosts are connected" simulator.out; do kill -0 $! || {GONE}; sleep 0.05; done'


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ServerProcess]]:
    """A checkout with a virtual environment, and the server that README starts there first."""
    directory = tmp_path_factory.mktemp("readme")
    (directory / ".venv").symlink_to(sys.prefix)
    with running_server(directory / "var") as server:
        yield directory, server


def block(begins: str) -> str:
    """The block with these words at the beginning of its first line."""
    (found,) = (text for text in pages.blocks(README) if text.startswith(begins))
    return found


def typed(home: Path, script: str, *inside: str) -> str:
    """What a shell says that ends at the first failure. inside: the program that runs it."""
    environment = {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}", "HOME": str(home), "LANG": "C.UTF-8"}
    argv = [*inside, "bash", "-euo", "pipefail", "-c", script]
    files = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(argv, cwd=home, env=environment, text=True, start_new_session=True, **files) as shell:
        try:
            said, _ = shell.communicate(timeout=540)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, said
    return str(said)


def test_first_calls_by_our_client_and_by_one_that_knows_the_api_by_reflection(
    home: tuple[Path, ServerProcess],
) -> None:
    """UI-01, UI-02."""
    directory, server = home
    own, foreign = block(FIRST), block("TOKEN=$(.venv/bin/buf curl")
    assert ADDRESS in foreign
    script = (
        f"export ZCLOUD_SERVER={server.address}\n{own.removeprefix(FIRST)}\n{foreign.replace(ADDRESS, server.address)}"
    )
    said = typed(directory, script)
    assert 'zone "room1": state is Enabled since ' in said
    assert '"the first room"' in said
    made = json.loads(said[said.rindex('{\n  "inventory"') :])["inventory"]
    assert (made["name"], made["state"]) == ("room2", "STATE_ENABLED")
    assert {"room1", "room2"} <= {zone.name for zone in server.admin.call("QueryZone").inventories}


def test_from_other_machines_by_tls(tmp_path: Path) -> None:
    """In a network of its own, where the ports are free and the name is known, as it stands there (UI-01)."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "hosts").write_text("127.0.0.1 localhost cloud.example.org\n")
    walk = block(".venv/bin/zcloud serve --data var --listen 0.0.0.0")
    own = {
        "password=- ": "password=@var/admin-password ",
        "…": "'\"$(cat var/admin-password)\"'",
        "# On others": ".venv/bin/zcloud CreateZone name=room3\n# On others",
        ".venv/bin/zcloud LogInByAccount": "cp var/pki/ca.pem .\n.venv/bin/zcloud LogInByAccount",
    }
    for theirs, ours in own.items():
        assert walk.count(theirs) == 1, theirs
        walk = walk.replace(theirs, ours)
    alone = "mount --bind hosts /etc/hosts\nip link set lo up\ntrap 'kill $! && wait' EXIT\n"
    said = typed(tmp_path, f"{alone}{walk}", "unshare", "--net", "--mount")
    # Made on the same machine, and found from elsewhere; two have logged in.
    assert said.count("room3") == 2
    assert len(re.findall(r"^ *\"?token\b", said, re.MULTILINE)) == 2


def test_a_cloud_without_hardware(home: tuple[Path, ServerProcess]) -> None:
    """From nothing to a VM on simulated hosts, with a real image on a real server (HST-03, BS-15, IMG-04, VM-01)."""
    directory, server = home
    walk = block("zcloud CreateZone")
    (allow,) = (span for span in pages.spans(README) if span.startswith("zcloud UpdateGlobalConfig category=image"))
    with running_sshd(directory / "sshd") as sshd, running_web() as web:
        (directory / ".ssh").mkdir()
        (directory / ".ssh/id_ed25519").write_text(sshd.client_key)
        image = directory / "small.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "1M"], check=True, timeout=60)
        own = {
            "hostname=<server>": f"hostname=127.0.0.1 ssh_port={sshd.port}",
            "url=/var/images": f"url={directory}/images",
            IMAGE: web.serve("/debian.qcow2", image.read_bytes()),
            SIMULATOR: f"{SIMULATOR[:-1]} >simulator.out 2>&1 &\n{CONNECTED}",
        }
        for theirs, ours in own.items():
            assert walk.count(theirs) == 1, theirs
            walk = walk.replace(theirs, ours)
        allowed = allow.replace("10.0.0.0/8", "127.0.0.0/8")
        end = "trap 'kill $! && wait' EXIT"
        said = typed(directory, f"export ZCLOUD_SERVER={server.address}\n{end}\n{allowed}\n{walk}")
    assert 'vm instance "web": state is Running since ' in said
    (vm,) = server.admin.call("QueryVmInstance").inventories
    assert vm.vm_nics[0].ip.startswith("10.9.0.")
