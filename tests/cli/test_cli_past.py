"""zcloud why and zcloud diff against a real server: causes back to a person or a report, and what became of a thing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloud import ServerProcess
from zcloud.cli.main import main


@pytest.fixture
def cli(server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    """The command line of an operator on the server's machine; fails unless the command succeeds."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("ZCLOUD_SERVER", server.address)
    monkeypatch.setenv("ZCLOUD_DATA", str(server.directory))

    def run(*words: str, status: int = 0) -> str:
        capsys.readouterr()
        assert main(list(words)) == status
        out, err = capsys.readouterr()
        return out if status == 0 else err

    return run


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server of this file's own: the CLI's conftest has a stand-in under the name."""
    made = ServerProcess(tmp_path_factory.mktemp("past") / "data")
    made.start()
    yield made
    made.stop()


def test_why_leads_to_a_person_and_what_was_said_and_diff_says_what_became(cli: Any, server: ServerProcess) -> None:
    zone = json.loads(cli("CreateZone", "name=z", "-o", "json"))["inventory"]["uuid"]
    created = json.loads(cli("GetZone", f"uuid={zone}", "-o", "json"))["inventory"]["create_date"]
    cli("ChangeZoneState", f"uuid={zone}", "state_event=disable", "--reason", "noisy neighbour")
    cli("UpdateZone", f"uuid={zone}", "name=zz")
    said = cli("why", zone).splitlines()
    assert said[0].startswith('zone "zz": state is Disabled since ')
    assert said[0].endswith("(before: Enabled)")
    assert said[1].startswith("  asked for by admin from 127.0.0.1:")
    assert " with ChangeZoneState at " in said[1]
    assert said[1].endswith(': "noisy neighbour"')
    assert cli("why", "zz").splitlines() == said  # of all kinds there are
    assert "name is zz since " in cli("why", zone, "name")
    told = json.loads(cli("why", zone, "name", "-o", "json"))
    assert (told[0]["before"], told[0]["after"], told[1]["origin"]) == ("z", "zz", "UpdateZone")
    assert "colour never changed; what did: " in cli("why", zone, "colour", status=1)

    assert cli("diff", zone, "--from", created).splitlines() == ["name   z -> zz", "state  Enabled -> Disabled"]
    assert cli("diff", zone, "--from", created, "--to", created) == "Nothing differs.\n"
    became = cli("diff", zone, "--from", "1d").splitlines()
    assert became[0] == "It was not there yet."
    assert "name          nothing -> zz" in became
    assert cli("diff", zone, "--from", "2d", "--to", "1d") == "It was there at neither moment.\n"
    cli("DeleteZone", f"uuid={zone}")
    gone = cli("why", zone).splitlines()
    assert 'zone "zz": it is gone since ' in gone[0]
    assert 'job "delete' in gone[1]
    assert "asked for by admin from 127.0.0.1:" in gone[-1]
    assert cli("diff", zone, "--from", created).startswith("It is gone.\n")
    assert json.loads(cli("diff", zone, "--from", created, "-o", "json"))["name"] == {"from": "z", "to": None}
    assert "a time is expected" in cli("diff", zone, "--from", "yesterday", status=2)
    assert "must not lie in the future" in cli("diff", zone, "--from", "2999-01-01", status=1)
    assert "NOT_FOUND" in cli("why", "f" * 32, status=1)


def test_what_is_watched_is_printed(cli: Any, server: ServerProcess) -> None:
    cli("CreateZone", "name=watched")
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    for words, wanted in (([], "Upserted"), (["-o", "json"], '"name": "watched"')):
        argv = [sys.executable, "-m", "zcloud.cli.main", "WatchResources", "kind=zone", *words]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as watching:
            assert watching.stdout is not None
            line = watching.stdout.readline()
            watching.terminate()
        assert wanted in line
        assert "watched" in line
