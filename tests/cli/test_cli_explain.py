"""What the command line says of the API: list, help, completion in a real shell."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pool

from zcloud.cli import catalog
from zcloud.cli.completion import candidates


def test_every_rpc_of_the_proto_files_is_listed(zcloud: Any) -> None:
    listed = {line.split()[0] for line in zcloud("list").out.splitlines()}
    written = set()
    for path in (Path(__file__).parents[2] / "proto" / "zcloud" / "v1").glob("*.proto"):
        for line in path.read_text().splitlines():
            if line.strip().startswith("rpc "):
                written.add(line.split()[1].partition("(")[0])
    assert listed == written
    assert len(listed) > 100


def test_the_index_is_made_anew_when_it_is_broken(home: Path) -> None:
    catalog._index.cache_clear()
    before = catalog.names()
    (kept,) = (home / "cache").rglob("rpcs.json")
    kept.write_text("{")
    catalog._index.cache_clear()
    assert catalog.names() == before


def test_help_tells_types_rules_and_comments(zcloud: Any) -> None:
    said = zcloud("help", "CreateVmInstance").out
    lines = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    assert "string; required; refers to image by uuid or name" in lines["image_uuid"]
    assert "size" in lines["memory_size"]
    assert "16 TiB" in lines["memory_size"]
    assert "InstantStart | JustCreate" in lines["strategy"]
    assert "The first one is the default" in said
    assert "ipv4" in lines["ip"]
    assert zcloud("CreateVmInstance", "--help").out == said


def test_help_marks_secrets(zcloud: Any) -> None:
    line = next(line for line in zcloud("help", "AddKvmHost").out.splitlines() if line.startswith("  password"))
    assert "secret" in line


def test_a_comment_belongs_to_the_line_below_it() -> None:
    from zcloud.cli.comments import comment

    catalog.find("CancelJob")
    file = descriptor_pool.Default().FindFileByName("zcloud/v1/job.proto")
    assert comment(file, "zcloud.v1.JobService.CancelJob").startswith("Takes effect between steps")
    assert comment(file, "zcloud.v1.Job.uuid") == ""
    assert comment(file, "zcloud.v1.Job.STATE_WAITING") == ""
    assert comment(file, "zcloud.v1.Job.State.STATE_WAITING") == "Another job of the resource runs first."
    assert comment(file, "zcloud.v1.Job.percent") == "Of the whole job, 0 to 100."


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["CreateZ"], ["CreateZone"]),
        (["ser"], ["serve"]),
        (["agent", ""], ["kvm", "simulator"]),
        (["help", "CreateZ"], ["CreateZone"]),
        (["CreateZone", "na"], ["name="]),
        (["CreateZone", "name=x", "na"], []),
        (["CreateVmInstance", "cpuN"], ["cpuNum="]),
        (["CreateVmInstance", "l3_network_uuids=a", "l3"], ["l3_network_uuids="]),
        (["ChangeZoneState", "state_event="], [f"state_event={event}" for event in ("Enable", "Disable")]),
        (["ChangePrimaryStorageState", "state_event=m"], ["state_event=Maintain"]),
        (["ChangeZoneState", "state_event=dis"], ["state_event=Disable"]),
        (["ShareResource", "to_public="], ["to_public=true", "to_public=false"]),
        (["QueryZone", "-o", "j"], ["json"]),
        (["QueryZone", "--val"], ["--validate-only"]),
        (["QueryZone", "zzz="], []),
    ],
)
def test_candidates(words: list[str], found: list[str]) -> None:
    assert candidates(words) == found


def complete_in_bash(tmp_path: Path, line: str) -> list[str]:
    """What bash puts in place of the last word, in a shell that has read our script."""
    command = tmp_path / "zcloud"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m zcloud.cli.main "$@"\n')
    command.chmod(0o755)
    # Words as readline splits them: at spaces, and around = as words of their own.
    words = [part for word in line.split(" ") for part in (word.replace("=", " = ").split() or [""])]
    script = f"""
source <({command} completion bash)
COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
COMP_WORDS=({" ".join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}
_zcloud
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("zcloud ChangeZoneS", ["ChangeZoneState"]),
        ("zcloud ChangeZoneState sta", ["state_event="]),
        ("zcloud ChangeZoneState state_event=", ["Enable", "Disable"]),
        ("zcloud ChangeZoneState state_event=En", ["Enable"]),
        ("zcloud QueryZone -o ", ["json", "table", "yaml"]),
    ],
)
def test_completion_in_bash(tmp_path: Path, line: str, found: list[str]) -> None:
    assert complete_in_bash(tmp_path, line) == found


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not here")
def test_the_zsh_script_is_zsh(zcloud: Any) -> None:
    script = zcloud("completion", "zsh").out
    subprocess.run(["zsh", "-n"], input=script, text=True, check=True)


def test_completion_of_an_unknown_shell_is_refused(zcloud: Any) -> None:
    assert zcloud("completion", "fish").status == 2


def test_an_agent_is_started_with_the_rest_of_the_line(zcloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    given: list[list[str]] = []
    for name in ("zcloud.cli.serve", "agents.kvm.main", "zcloud.cli.simulator"):
        module = types.ModuleType(name)
        module.main = lambda argv: given.append(argv)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    assert zcloud("serve", "--data", "d").status == 0
    assert zcloud("agent", "kvm", "--x").status == 0
    assert zcloud("agent", "simulator", "--hosts", "3").status == 0
    assert given == [["--data", "d"], ["--x"], ["--hosts", "3"]]


def test_without_words_it_says_what_it_can(zcloud: Any) -> None:
    ran = zcloud()
    assert ran.status == 0
    for name in catalog.COMMANDS:
        assert f"\n  {name} " in ran.out


def test_the_list_can_be_narrowed(zcloud: Any) -> None:
    found = [line.split()[0] for line in zcloud("list", "Host", "reconnect").out.splitlines()]
    assert found == ["ReconnectHost"]
    ran = zcloud("list", "teapot")
    assert (ran.status, ran.out) == (2, "")
    assert "no RPC has 'teapot' in its name" in ran.err
