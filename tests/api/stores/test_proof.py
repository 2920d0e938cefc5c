"""The proof of a node's log, on each store: signed while it runs and when it stops; what the commands say of it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, text

from tests.api.stores.conftest import Cloud
from tests.api.stores.test_nodes import two
from tests.support.cloud import running_node
from tests.support.postgres import PostgresCluster
from zcloud.api import proof as api_proof
from zcloud.cli.main import main


@pytest.fixture
def place(cloud: Cloud, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, list[str]]:
    """A cloud with some zones, stopped; its directory, and the options that name it."""

    async def run() -> str:
        async with cloud() as api:
            zones = [(await api.call("CreateZone", name=f"z{n}")).inventory.uuid for n in range(5)]
            await api.done("DeleteZone", uuid=zones[0])
            node = api.node
            await node.proof.follow()
            assert (tmp_path / "data/proof/checkpoints.jsonl").read_bytes().count(b"\n") == 1
            await node.proof.follow()  # nothing new: nothing signed
            assert (tmp_path / "data/proof/checkpoints.jsonl").read_bytes().count(b"\n") == 1
            await api.call("UpdateZone", uuid=zones[1], name="renamed")
            return str(node.proof._store)

    store = asyncio.run(run())
    return tmp_path / "data", ["--data", str(tmp_path / "data"), *(["--store", store] if store else [])]


def said(capsys: Any, *words: str) -> tuple[int, str]:
    capsys.readouterr()
    status = main(list(words))
    return status, capsys.readouterr().out


def change(place: tuple[Path, list[str]], statement: str) -> None:
    """What a person with a SQL prompt and the right to it does."""
    directory, options = place
    if "--store" in options:
        with psycopg.connect(options[-1]) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(statement.replace("events", "zcloud.events").encode())
    else:
        with sqlite3.connect(directory / "log.db") as file:
            file.execute("DROP TRIGGER events_are_never_changed")
            file.execute(statement)
        file.close()


def test_the_log_is_signed_to_its_end_and_a_change_is_found(place: Any, tmp_path: Path, capsys: Any) -> None:
    directory, options = place
    lines = (directory / "proof/checkpoints.jsonl").read_bytes().splitlines()
    assert len(lines) == 2
    assert b"renamed" not in b"".join(lines)
    assert (directory / "proof.key").stat().st_mode & 0o777 == 0o600
    status, text_said = said(capsys, "audit", "verify", *options)
    assert status == 0, text_said
    assert "by 2 checkpoints" in text_said
    assert "not signed" not in text_said
    evidence = tmp_path / "evidence.jsonl"
    assert said(capsys, "audit", "export", str(evidence), *options)[0] == 0
    assert said(capsys, "audit", "verify", "--file", str(evidence))[0] == 0
    change(place, "UPDATE events SET reason='it was not me' WHERE position=12")
    status, text_said = said(capsys, "audit", "verify", *options)
    assert status == 1
    assert "record 12 was altered" in text_said


def test_a_node_signs_nothing_on_top_of_a_changed_log(place: Any, cloud: Cloud, capsys: Any) -> None:
    directory, options = place
    signed = (directory / "proof/checkpoints.jsonl").read_bytes()
    (directory / "proof/chain").unlink()
    change(place, "UPDATE events SET owner_uuid='' WHERE position=3")

    async def run() -> None:
        async with cloud() as api:
            await api.call("CreateZone", name="afterwards")
            await api.node.proof.follow()
            assert "not the one that was signed" in api.node.proof.broken

    asyncio.run(run())
    assert (directory / "proof/checkpoints.jsonl").read_bytes() == signed
    assert said(capsys, "audit", "verify", *options)[0] == 1


def test_much_at_once_is_hashed_by_a_process_of_its_own(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_proof, "FEW", 0)
    monkeypatch.setattr(api_proof, "follow", None)  # not in this one

    async def run() -> None:
        async with cloud() as api:
            await api.node.proof.follow()
            lines = (api.node.directory / "proof/checkpoints.jsonl").read_bytes().splitlines()
            assert len(lines) == 1
            assert b'"position":%d,' % api.node.cloud.log.head in lines[0]
            monkeypatch.undo()

    asyncio.run(run())


def test_replay_shows_the_cloud_as_of_then(place: Any, tmp_path: Path, capsys: Any) -> None:
    _, options = place
    now, then = tmp_path / "now.db", tmp_path / "then.db"
    assert said(capsys, "replay", *options, "--until", "2100-01-01", "--to", str(now))[0] == 0

    def names(path: Path) -> list[str]:
        with sqlite3.connect(path) as file:
            found = [name for (name,) in file.execute("SELECT name FROM zone ORDER BY name")]
        file.close()
        return found

    assert names(now) == ["renamed", "z2", "z3", "z4"]
    with sqlite3.connect(now) as file:
        ((position,),) = file.execute("SELECT position FROM projection")
    file.close()
    assert said(capsys, "replay", *options, "--until", str(position - 1), "--to", str(then))[0] == 0
    assert names(then) == ["z1", "z2", "z3", "z4"]
    assert main(["replay", *options, "--until", "1", "--to", str(then)]) == 1  # what is there is not overwritten


def test_check_names_what_differs_and_rebuild_puts_it_right(place: Any, capsys: Any) -> None:
    directory, options = place
    assert said(capsys, "check", *options)[0] == 0
    address = options[-1].replace("postgresql://", "postgresql+psycopg://") if "--store" in options else ""
    engine = create_engine(address or f"sqlite:///{directory / 'views.db'}")
    schema = "zcloud_views." if address else ""
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {schema}zone SET name='wrong' WHERE name='renamed'"))
        connection.execute(text(f"DELETE FROM {schema}zone WHERE name='z3'"))
        connection.execute(text(f"DELETE FROM {schema}event_index WHERE position=2"))
    engine.dispose()
    status, text_said = said(capsys, "check", *options)
    assert status == 1
    assert "differs in name" in text_said
    assert text_said.count("is missing") == 2
    assert "3 rows differ" in text_said
    assert said(capsys, "rebuild", *options)[0] == 0
    assert said(capsys, "check", *options)[0] == 0


def test_any_node_proves_what_all_have_signed(postgres: PostgresCluster, tmp_path: Path, capsys: Any) -> None:
    """Also what one signed whose disk is gone, and from where no node is (MN-02)."""
    address = postgres.database()
    a, b, nowhere = (["--store", address, "--data", str(tmp_path / name)] for name in ("a", "b", "nowhere"))

    def checkpoints(statement: str = "SELECT node FROM checkpoints", *, allowed: bool = False) -> list[str]:
        with psycopg.connect(address, options="-c search_path=zcloud") as connection:
            if allowed:
                connection.execute("SET session_replication_role = replica")
            found = connection.execute(statement.encode())
            return [row[0] for row in found] if found.description else []

    async def run() -> tuple[str, str]:
        async with two(tmp_path, address) as (one, other):
            for api in (one, other):
                await api.call("CreateZone", name="z")
                await api.node.cloud.log.newest()
                await api.node.proof.follow()
            names = one.node.cluster.name, other.node.cluster.name
            assert sorted(checkpoints()) == sorted(names)
            # What could not be put there is, at the next one.
            checkpoints("TRUNCATE checkpoints", allowed=True)
            await one.call("UpdateZone", uuid=(await one.call("QueryZone")).inventories[0].uuid, name="renamed")
            await one.node.proof.follow()
            assert checkpoints() == [names[0]] * 2
            return names

    names = asyncio.run(run())
    assert set(checkpoints()) == set(names)
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        checkpoints("DELETE FROM checkpoints")
    for place in (a, b, nowhere):
        status, text_said = said(capsys, "audit", "verify", *place)
        assert status == 0, text_said
        assert "checkpoints of 2 nodes" in text_said
    shutil.rmtree(tmp_path / "b")
    assert "checkpoints of 2 nodes" in said(capsys, "audit", "verify", *a)[1]
    evidence = tmp_path / "evidence.jsonl"
    assert said(capsys, "audit", "export", str(evidence), *nowhere)[0] == 0
    assert said(capsys, "audit", "verify", "--file", str(evidence))[0] == 0
    change((tmp_path, ["--store", address]), "UPDATE events SET reason='it was not me' WHERE position=12")
    assert "record 12 was altered" in said(capsys, "audit", "verify", *a)[1]
    status, text_said = said(capsys, "audit", "verify", *nowhere)
    assert status == 1
    assert f"what node {names[1]} signed" in text_said
    first = f"SELECT min(position) FROM checkpoints WHERE node = '{names[1]}'"
    checkpoints(f"DELETE FROM checkpoints WHERE node = '{names[1]}' AND position = ({first})", allowed=True)
    assert f"WRONG: node {names[1]}: the checkpoint before that at" in said(capsys, "audit", "verify", *a)[1]


def test_a_key_that_is_none_is_told_once_with_what_to_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """ARC-14: in this process and in the one that hashes much; another key, or the copy, mends it while it runs."""

    async def run(few: int) -> None:
        async with running_node(tmp_path / "data") as api:
            node, path = api.node, tmp_path / "data/proof.key"
            key = path.read_bytes() if path.exists() else b""
            path.write_bytes(b"x" * 31)
            for name in ("one", "two", "three"):
                await api.call("CreateZone", name=name)
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(api_proof, "FEW", few)
                    await node.proof.follow()
            assert "31 bytes" in node.proof.broken
            path.write_bytes(key) if key else path.unlink()
            await node.proof.follow()
            assert node.proof.broken == ""

    for few in (api_proof.FEW, 0):
        caplog.clear()
        asyncio.run(run(few))
        (told,) = [record for record in caplog.records if record.name == "zcloud.api.proof"]
        assert "put the copy of it back, or remove it" in told.getMessage()
        assert told.exc_info is None
