"""Checkpoints of several nodes over one log: all of them are heard, none of them can hide what another has signed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kernel.proof.logs import STORE, Hands, log_with_checkpoints
from zcloud.kernel.proof.checkpoint import BadCheckpoint, Checkpoint, read
from zcloud.kernel.proof.notary import Notary
from zcloud.kernel.proof.proof import Proof
from zcloud.kernel.proof.raw import open_raw
from zcloud.kernel.proof.shared import Signed, chains
from zcloud.kernel.proof.verify import Report, verify

NUMBER = 300


def follow(directory: Path, log: Path, every: int, until: int) -> None:
    """A node with a directory of its own signs the log."""
    directory.mkdir(exist_ok=True)
    raw = open_raw(log)
    notary = Notary(raw, directory, STORE)
    while notary.position < until and notary.extend(min(every, until - notary.position)):
        notary.sign(0)
    notary.close()
    raw.close()


def told(**directories: Path) -> list[Signed]:
    """What nodes put into the store, by their names."""
    return [
        Signed(name, checkpoint)
        for name, directory in directories.items()
        for checkpoint in read(directory / "proof/checkpoints.jsonl")
    ]


def verified(log: Path, directory: Path, shared: Sequence[Signed], keys: Sequence[str] = ()) -> Report:
    raw = open_raw(log)
    try:
        return verify(raw, Proof.of(directory, None, keys, shared))
    finally:
        raw.close()


@pytest.fixture
def nodes(tmp_path: Path) -> tuple[Path, Path]:
    """Node a, beside whose directory the log lies, signed up to 200; b has signed at other places, up to the end."""
    a, b = tmp_path / "a", tmp_path / "b"
    log_with_checkpoints(a, NUMBER, NUMBER)
    for name in ("checkpoints.jsonl", "chain"):
        (a / "proof" / name).unlink()
    follow(a, a, 100, 200)
    follow(b, a, 70, NUMBER)
    return a, b


def test_all_that_any_node_signed_is_verified(nodes: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = nodes
    shared = told(a=a, b=b)
    report = verified(a, a, shared)
    assert report.good
    assert (report.covered, report.checkpoints, report.nodes) == (NUMBER, 7, 2)
    assert report.notes == ["records 201 to 300 were signed by other nodes only, whose keys are not kept here"]
    # Where there is no node's directory, too; then there is no key to go by.
    report = verified(a, tmp_path / "nowhere", shared)
    assert (report.good, report.covered, report.checkpoints, report.nodes) == (True, NUMBER, 7, 2)
    assert "there is no key" in report.notes[0]
    key = (b / "proof/key.pub").read_text().strip()
    report = verified(a, tmp_path / "nowhere", shared, [key])
    assert (report.good, report.checkpoints, report.nodes) == (True, 5, 1)
    assert report.notes == ["what node a signed with a key that is not trusted is left out"]
    # What a node has not put there yet is known to it all the same.
    report = verified(a, a, told(b=b))
    assert (report.good, report.checkpoints, report.nodes) == (True, 7, 2)
    assert report.notes[0].startswith("2 checkpoints of ")


def test_a_node_whose_disk_is_gone_has_signed_all_the_same(nodes: tuple[Path, Path]) -> None:
    a, b = nodes
    before = told(b=b)
    shutil.rmtree(b)
    follow(b, a, 150, NUMBER)  # under the same name, with a key of its own
    shared = [*told(a=a, b=b), *before]
    assert verified(a, a, shared).checkpoints == 2 + 5 + 2
    Hands(a / "log.db", random.Random(1), NUMBER).do("alter", 33)
    findings = verified(a, a, shared).findings
    assert [(f.position, f.kind) for f in findings if f.kind != "somewhere"] == [(33, "altered")]
    assert len(findings) == 3


def test_who_has_one_node_with_its_key_is_found_out_by_the_other(nodes: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = nodes
    theirs = told(b=b)
    Hands(a / "log.db", random.Random(2), NUMBER).do("alter", 100)
    for name in ("checkpoints.jsonl", "chain"):
        (a / "proof" / name).unlink()
    follow(a, a, 50, NUMBER)
    assert verified(a, a, told(a=a)).good
    forged = tmp_path / "c"
    follow(forged, a, 30, NUMBER)
    for directory in (a, tmp_path / "nowhere"):
        report = verified(a, directory, [*told(a=a, c=forged), *theirs])
        assert [(f.position, f.after) for f in report.findings] == [(71, 70)]
        assert report.findings[0].text == "the log does not come to what node b signed at 140"


def test_what_one_node_signed_differently_at_the_same_place_is_told(nodes: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = nodes
    other = tmp_path / "other"
    log_with_checkpoints(other, NUMBER, NUMBER)
    Hands(other / "log.db", random.Random(2), NUMBER).do("alter", 100)
    follow(tmp_path / "c", other, 100, NUMBER)
    report = verified(a, a, told(a=a, b=b, c=tmp_path / "c"))
    assert [f.text for f in report.findings] == ["the log does not come to what node c signed at 100"]


@pytest.mark.parametrize("number", [0, 2, 4])
def test_checkpoints_that_were_changed_or_taken_away_name_their_node(nodes: tuple[Path, Path], number: int) -> None:
    a, b = nodes
    shared = told(a=a, b=b)
    at = next(n for n, signed in enumerate(shared) if signed.node == "b") + number
    changed: Checkpoint = replace(shared[at].checkpoint, time="2020-01-01T00:00:00Z")
    report = verified(a, a, [*shared[:at], Signed("b", changed), *shared[at + 1 :]])
    assert report.wrong
    assert {text.partition(":")[0] for text in report.wrong} == {"node b"}
    assert (report.good, report.covered) == (False, 200)
    report = verified(a, a, shared[:at] + shared[at + 1 :])
    # Only that the newest ones are gone shows nowhere but in their node's own directory.
    assert report.good is (number == 4)
    made, wrong = chains(shared)
    assert (len(made), wrong) == (2, [])


def test_a_copy_may_be_any_nodes(nodes: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = nodes
    kept = b / "proof/checkpoints.jsonl"
    assert len(Proof.of(a, kept, (), told(a=a, b=b)).copy) == 5
    with pytest.raises(BadCheckpoint, match="unknown key"):
        Proof.of(a, kept, (), told(a=a))
    with pytest.raises(BadCheckpoint, match="is not among the store's own"):
        Proof.of(tmp_path / "nowhere", kept, (), told(a=a))
