"""The command line as another program meets it: a process of its own, its exit status, its output."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def zcloud(server: Any, tmp_path: Path) -> Any:
    """Runs the command against the server, as a user with an empty home."""
    environment = {**os.environ, "ZCLOUD_SERVER": server.address, "XDG_CACHE_HOME": str(tmp_path), "ZCLOUD_DATA": "/"}
    environment.pop("ZCLOUD_TOKEN", None)

    def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "zcloud.cli.main", *words]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=120, env=environment)

    return run


def test_a_zone_from_the_command_line(server: Any, zcloud: Any) -> None:
    assert zcloud("QueryZone").returncode == 1  # nobody is logged in
    logged_in = zcloud("LogInByAccount", "account_name=admin", "password=-", stdin=server.admin_password + "\n")
    assert logged_in.returncode == 0, logged_in.stderr
    made = zcloud("CreateZone", "name=zone of the cli", "--reason", "weil’s geht", "-o", "json")
    assert made.returncode == 0, made.stderr
    zone = json.loads(made.stdout)["inventory"]
    assert (zone["state"], len(zone["uuid"])) == ("Enabled", 32)
    off = zcloud("ChangeZoneState", f"uuid={zone['uuid']}", "stateEvent=disable", "-o", "json")
    assert json.loads(off.stdout)["inventory"]["state"] == "Disabled"
    found = zcloud("QueryZone", "name~=zone of the%", "state=Disabled", "count=true", "-o", "json")
    assert [one["uuid"] for one in json.loads(found.stdout)["inventories"]] == [zone["uuid"]]
    table = zcloud("QueryZone", f"uuid={zone['uuid']}").stdout.splitlines()
    assert table[0].split()[:3] == ["name", "uuid", "state"]
    assert "zone of the cli" in table[1]
    history = zcloud("GetHistory", f"resource_uuid={zone['uuid']}", "-o", "json")
    assert "weil’s geht" in [event["reason"] for event in json.loads(history.stdout)["events"]]


def test_a_refusal_has_a_status_and_names_the_field(server: Any, zcloud: Any) -> None:
    zcloud("LogInByAccount", "account_name=admin", "password=-", stdin=server.admin_password)
    refused = zcloud("CreateZone", "name=")
    assert refused.returncode == 1
    assert "INVALID_ARGUMENT" in refused.stderr
    assert "name" in refused.stderr
    assert refused.stdout == ""
    gone = zcloud("DeleteZone", f"uuid={'0' * 32}")
    assert gone.returncode == 1
    assert "NOT_FOUND" in gone.stderr
