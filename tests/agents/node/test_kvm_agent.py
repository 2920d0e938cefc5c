"""Agents deployed over a real sshd: installed, started, replaced, removed."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest

from agents.node import host_setup, packing
from agents.node.host_setup import Places, agent_pids, stop_agent
from agents.node.kvm_agent import DeployKvmAgent, RemoveKvmAgent
from agents.node.private_sshd import PrivateSshd
from agents.storage.helper import HelperError
from tests.support.ports import free_port
from tests.support.sshd import target_of
from tests.support.tasks import failure, new_work, probe, run
from zcloud.domain.storage.nfs_primary_storage import MOUNTS
from zcloud.v1.host_task_pb2 import DeployKvmAgentTask, RemoveKvmAgentTask

HOST = "b" * 32
TOKEN = "canary-token-5f1d"
# Says what it was given, where it runs, and stays.
AGENT = """\
import json, os, signal, sys, time
config = json.load(open(sys.argv[2]))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
os.makedirs(config["directory"], exist_ok=True)
with open(config["directory"] + "/seen.part", "w") as file:
    json.dump({"config": config, "file": __file__, "python": sys.executable, "pid": os.getpid()}, file)
os.rename(config["directory"] + "/seen.part", config["directory"] + "/seen")
time.sleep(600)
"""
Stub = Callable[[str], None]


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Deploys an agent of the test's making in place of the real one."""
    pack = packing.agent_archive

    def install(main: str) -> None:
        root = tmp_path / "source"
        for package in ("agents/kvm", "zcloud/v1"):
            (root / package).mkdir(parents=True, exist_ok=True)
        for module in ("agents", "agents/kvm", "zcloud", "zcloud/v1"):
            (root / module / "__init__.py").write_text("")
        (root / "zcloud/v1/agent_pb2.py").write_text("")
        (root / "agents/kvm/main.py").write_text(main)
        monkeypatch.setattr(packing, "agent_archive", lambda: pack(root))

    install(AGENT)
    return install


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    """The directory of agents; no process of it survives the test."""
    directory = tmp_path / "agents"
    yield directory
    for pid in agent_pids(Places(str(directory / HOST))):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def task(sshd: PrivateSshd, **changes: str) -> DeployKvmAgentTask:
    fields = {
        "host_uuid": HOST,
        "token": TOKEN,
        "ca_fingerprint": "c" * 64,
        "enroll_endpoint": "10.0.0.1:1",
        "agent_endpoint": "10.0.0.1:2",
        "libvirt_uri": "test:///default",
    }
    return DeployKvmAgentTask(target=target_of(sshd), **(fields | changes))


def seen(base: Path) -> dict[str, object]:
    path = base / HOST / "state" / "seen"
    for _ in range(3000):
        if path.exists():
            return dict(json.loads(path.read_text()))
        time.sleep(0.02)
    raise AssertionError((base / HOST / "agent.log").read_text())


@pytest.mark.real
def test_an_agent_is_installed_replaced_and_removed(sshd: PrivateSshd, base: Path, stub: Stub) -> None:
    deploy, places, steps = DeployKvmAgent(str(base)), Places(str(base / HOST)), []
    assert probe(deploy, task(sshd)) is None
    result = run(deploy, task(sshd), new_work(lambda percent, _: steps.append(percent)))
    assert result.host_key == sshd.host_key
    assert steps == sorted(steps)
    assert steps[-1] == 100
    (first,) = agent_pids(places)
    told = seen(base)
    assert told["pid"] == first
    assert told["config"] == {
        "host_uuid": HOST,
        "token": TOKEN,
        "ca_fingerprint": "c" * 64,
        "enroll_endpoint": "10.0.0.1:1",
        "agent_endpoint": "10.0.0.1:2",
        "directory": str(base / HOST / "state"),
        "extra": {"libvirt_uri": "test:///default"},
    }
    assert str(told["file"]).startswith(str(base / HOST))
    assert told["python"] == sys.executable
    assert Path(places.config).stat().st_mode & 0o777 == 0o600
    assert Path(places.directory).stat().st_mode & 0o777 == 0o700
    for exposed in ("cmdline", "environ"):
        assert TOKEN.encode() not in Path(f"/proc/{first}/{exposed}").read_bytes()
    assert os.getsid(first) == first

    assert probe(deploy, task(sshd)) == result
    assert probe(deploy, task(sshd, token="another")) is None

    stub(AGENT + "# newer\n")
    run(deploy, task(sshd, token="another"))
    (second,) = agent_pids(places)
    assert second != first
    assert len([name for name in os.listdir(places.directory) if name.startswith("agent-")]) == 1

    remove = RemoveKvmAgentTask(target=target_of(sshd), host_uuid=HOST)
    for _ in range(2):
        run(RemoveKvmAgent(str(base)), remove)
        assert agent_pids(places) == []
        assert not base.exists()


@pytest.mark.real
def test_what_agents_have_mounted_goes_with_the_last_of_them(tmp_path: Path) -> None:
    """PS-07: but for what is in use."""
    assert host_setup.MOUNTS == MOUNTS
    free, busy = tmp_path / "nfs" / "free", tmp_path / "nfs" / "busy"
    with contextlib.ExitStack() as stack:
        for place in (free, busy):
            place.mkdir(parents=True)
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", str(place)], stderr=subprocess.DEVNULL)
        with open(busy / "disk", "w"):
            host_setup.unmount(str(tmp_path / "nf"))
            assert free.is_mount()
            host_setup.unmount(str(tmp_path / "nfs"))
            assert busy.is_mount()
            assert not free.exists()


@pytest.mark.real
def test_the_real_agent_waits_for_a_node_that_is_not_there(sshd: PrivateSshd, base: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    run(DeployKvmAgent(str(base)), task(sshd, enroll_endpoint=nobody, agent_endpoint=nobody))
    assert len(agent_pids(Places(str(base / HOST)))) == 1
    assert TOKEN not in (base / HOST / "agent.log").read_text()
    run(RemoveKvmAgent(str(base)), RemoveKvmAgentTask(target=target_of(sshd), host_uuid=HOST))
    assert not base.exists()


@pytest.mark.real
def test_an_agent_that_ends_at_once_fails_with_its_last_words(sshd: PrivateSshd, base: Path, stub: Stub) -> None:
    stub(f"import sys\nprint('starting')\nsys.exit('no libvirt here, token was {TOKEN}')\n")
    # It is over when the agent has ended, however long that takes on a busy machine.
    error = failure(DeployKvmAgent(str(base), watched=60), task(sshd))
    assert error.reason == "FAILED"
    assert "starting | no libvirt here" in error.message
    assert TOKEN not in error.message
    assert probe(DeployKvmAgent(str(base)), task(sshd)) is None


@pytest.mark.real
def test_hosts_that_cannot_be_reached(sshd: PrivateSshd, base: Path) -> None:
    deploy, remove = task(sshd), RemoveKvmAgentTask(target=target_of(sshd), host_uuid=HOST)
    for args in (deploy, remove):
        args.target.port = free_port()
    assert failure(DeployKvmAgent(str(base)), deploy).reason == "UNREACHABLE"
    assert failure(RemoveKvmAgent(str(base)), remove).reason == "UNREACHABLE"


@pytest.mark.parametrize("host_uuid", ["", "..", "a/b", "-rf", "a b", "x" * 129])
def test_a_host_uuid_that_is_no_directory(host_uuid: str, base: Path) -> None:
    deploy = DeployKvmAgentTask(host_uuid=host_uuid, agent_endpoint="a:1", enroll_endpoint="a:2")
    assert failure(DeployKvmAgent(str(base)), deploy).reason == "INVALID"
    assert failure(RemoveKvmAgent(str(base)), RemoveKvmAgentTask(host_uuid=host_uuid)).reason == "INVALID"


def test_an_agent_that_does_not_listen_is_killed(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_setup, "STOP_SECONDS", 0.2)
    places = Places(str(base / HOST))
    deaf = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    argv = [sys.executable, "-c", deaf, "agents.kvm.main", "--config", places.config]
    other = [*argv[:-1], places.config + "x"]
    with (
        subprocess.Popen(argv, stdout=subprocess.PIPE) as process,
        subprocess.Popen(other, stdout=subprocess.PIPE) as bystander,
    ):
        try:
            for started in (process, bystander):
                assert started.stdout is not None
                assert started.stdout.readline() == b"up\n"
            assert agent_pids(places) == [process.pid]
            stop_agent(places)
            assert process.wait(60) == -signal.SIGKILL
            assert bystander.poll() is None
        finally:
            process.kill()
            bystander.kill()


def request(**changes: object) -> dict[str, object]:
    return {"python": "/none/python", "modules": ["grpc"], "requirements": ["grpcio==1"]} | changes


def test_a_python_is_made_where_none_will_do(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    places = Places(str(base / HOST))
    own = str(base / "venv" / "bin" / "python")
    monkeypatch.setattr(host_setup, "emit", lambda _message: None)
    monkeypatch.setattr(host_setup, "_run", lambda argv, *_a, **_k: ran.append(argv))
    monkeypatch.setattr(host_setup, "_can_run", lambda python, *_a: python == own)
    assert host_setup._interpreter(places, "code", request()) == own
    assert [argv[0] for argv in ran] == ["apt-get", "apt-get", "python3", own]
    assert ran[-1][-1] == "grpcio==1"
    monkeypatch.setattr(host_setup, "_can_run", lambda *_a: False)
    with pytest.raises(HelperError, match=r"needs Python 3\.11"):
        host_setup._interpreter(places, "code", request())


def test_only_a_python_with_everything_will_do(tmp_path: Path) -> None:
    code = str(packing.source_root())
    assert host_setup._can_run(sys.executable, code, list(packing.MODULES))
    assert not host_setup._can_run(sys.executable, code, [*packing.MODULES, "no_such_module"])
    assert not host_setup._can_run(sys.executable, str(tmp_path), ["agents.no_such_module"])
    assert not host_setup._can_run(str(tmp_path / "missing"), code, ["sys"])


def test_machines_that_are_no_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_setup.os, "geteuid", lambda: 1000)
    with pytest.raises(HelperError, match="root") as refused:
        host_setup.check({"directory": "/none", "code": "agent-1"})
    assert refused.value.reason == "REFUSED"
    monkeypatch.setattr(host_setup.platform, "machine", lambda: "riscv64")
    with pytest.raises(HelperError, match="riscv64"):
        host_setup.check({"directory": "/none", "code": "agent-1"})


def test_the_installer_runs_on_old_pythons_without_packages() -> None:
    tree = ast.parse(Path(host_setup.__file__).read_text(), feature_version=(3, 9))
    modules = {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name for name in modules if name not in sys.stdlib_module_names} == {
        "agents.storage.helper",
        "collections.abc",
    }


def test_the_archive_is_all_that_an_agent_needs(tmp_path: Path) -> None:
    packed = packing.agent_archive()
    assert packed == packing.agent_archive()
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path, filter="data")
    assert "zcloud/v1/agent_pb2.py" in names
    assert not [name for name in names if name.startswith(("agents/node", "agents/simulator", "zcloud/domain"))]
    modules = [name[:-3].replace("/", ".") for name in names if name.startswith("agents/") and "__" not in name]
    program = (
        "import sys, importlib; root = sys.argv[1]; sys.path.insert(0, root)\n"
        "for name in sys.argv[2:]: importlib.import_module(name)\n"
        "ours = [m for n, m in sys.modules.items() if n.partition('.')[0] in ('agents', 'zcloud', 'projections')]\n"
        "foreign = [m.__file__ for m in ours if m.__file__ and not m.__file__.startswith(root)]\n"
        "assert not foreign, foreign\n"
    )
    argv = [sys.executable, "-B", "-c", program, str(tmp_path), *modules]
    subprocess.run(argv, cwd=tmp_path, check=True)
