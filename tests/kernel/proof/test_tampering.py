"""Whatever is done to the log behind its back is found, and the first record that it was done to is named."""

from __future__ import annotations

import random
import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.kernel.proof.logs import KINDS, Hands, copy, log_with_checkpoints, records, rows_of
from zcloud.kernel.proof.chain import SIZE, link
from zcloud.kernel.proof.checkpoint import BadCheckpoint
from zcloud.kernel.proof.notary import Broken, Notary
from zcloud.kernel.proof.proof import Proof
from zcloud.kernel.proof.raw import Row, open_raw
from zcloud.kernel.proof.verify import Report, verify
from zcloud.kernel.store.sqlite import SqliteRecorder

NUMBER, EVERY = 700, 100
TAMPERINGS = 1_000


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("proof") / "data"
    log_with_checkpoints(directory, NUMBER, EVERY)
    return directory


def verified(directory: Path, copy_of_checkpoints: Path | None = None) -> Report:
    raw = open_raw(directory)
    try:
        return verify(raw, Proof.of(directory, copy_of_checkpoints))
    finally:
        raw.close()


def first_difference(before: list[Row], after: list[Row]) -> int:
    """The position of the first record that is not what it was, or that is where there was none."""
    if after and after[0][0] < 1:
        return int(after[0][0])
    now = {row[0]: row for row in after}
    return next(row[0] for row in before if repr(now.get(row[0])) != repr(row))


def test_a_log_that_nobody_touched_is_right(signed: Path) -> None:
    report = verified(signed)
    assert report.good
    assert (report.head, report.covered, report.checkpoints, report.verified) == (NUMBER, NUMBER, 7, NUMBER)


def test_a_thousand_tamperings_are_all_found_and_named(tmp_path: Path) -> None:
    number, every = 150, 25
    signed = tmp_path / "signed"
    log_with_checkpoints(signed, number, every)
    before = rows_of(signed)
    chance = random.Random(5)
    kinds: set[tuple[str, str]] = set()
    place = copy(signed, tmp_path / "tampered")
    for n in range(TAMPERINGS):
        shutil.copyfile(signed / "log.db", place / "log.db")
        what = KINDS[n % len(KINDS)]
        Hands(place / "log.db", chance, number).do(what)
        report = verified(place)
        assert report.findings, (n, what)
        where = first_difference(before, rows_of(place))
        assert report.findings[0].position == where, (n, what, report.findings)
        assert report.findings[0].after == max(0, (where - 1) // every * every), (n, what)
        kinds.add((what, report.findings[0].kind))
    told = {"alter": {"altered"}, "delete": {"missing"}, "close_up": {"missing"}, "truncate": {"missing"}}
    for what, said in told.items():
        assert {kind for done, kind in kinds if done == what} == said
    assert {"reordered", "inserted"} <= {kind for _, kind in kinds}


@pytest.mark.parametrize("chain", [True, False], ids=["with hashes", "checkpoints only"])
def test_several_processes_find_the_same(
    signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chain: bool
) -> None:
    monkeypatch.setattr("zcloud.kernel.proof.verify.SHARE", 60)
    place = copy(signed, tmp_path / "data")
    if not chain:
        (place / "proof/chain").unlink()
    for position in (0, 432):
        if position:
            Hands(place / "log.db", random.Random(4), NUMBER).do("alter", position)
        raw = open_raw(place)
        report = verify(raw, Proof.of(place), partial(open_raw, place), 2)
        raw.close()
        assert report.verified == (400 if position else NUMBER)
        assert [f.position for f in report.findings] == ([432 if chain else 401] if position else [])


def test_hashes_made_anew_for_a_changed_log_do_not_help(signed: Path, tmp_path: Path) -> None:
    """Who changes the hash file as well is found out by the next checkpoint; only the record can't be named."""
    place = copy(signed, tmp_path / "data")
    for rewrite_checkpoints_hashes in (False, True):
        shutil.copyfile(signed / "log.db", place / "log.db")
        Hands(place / "log.db", random.Random(1), NUMBER).do("alter", 250)
        hashes, before = [], bytes(SIZE)
        old = (signed / "proof/chain").read_bytes()
        for row in rows_of(place):
            before = link(before, row)
            kept = rewrite_checkpoints_hashes and row[0] % EVERY == 0
            hashes.append(old[(row[0] - 1) * SIZE : row[0] * SIZE] if kept else before)
        (place / "proof/chain").write_bytes(b"".join(hashes))
        (found,) = verified(place).findings
        assert found.after == 200
        assert 200 < found.position <= 300


def test_damaged_hashes_alone_do_not_speak_against_the_log(signed: Path, tmp_path: Path) -> None:
    place = copy(signed, tmp_path / "data")
    chain = place / "proof/chain"
    for data in (b"\0" * chain.stat().st_size, b"", chain.read_bytes()[:999]):
        chain.write_bytes(data)
        report = verified(place)
        assert report.good
        assert report.verified == NUMBER


def test_a_copy_of_the_checkpoints_finds_out_who_has_the_key(signed: Path, tmp_path: Path) -> None:
    place = copy(signed, tmp_path / "data")
    kept = tmp_path / "kept.jsonl"
    shutil.copyfile(place / "proof/checkpoints.jsonl", kept)
    Hands(place / "log.db", random.Random(2), NUMBER).do("alter", 333)
    # With the key of the node all of it can be signed again ...
    for name in ("checkpoints.jsonl", "chain"):
        (place / "proof" / name).unlink()
    notary = Notary(open_raw(place), place, "a" * 32)
    while notary.extend(EVERY):
        notary.sign(0)
    notary.close()
    assert verified(place).good
    # ... and what was kept elsewhere says otherwise.
    with pytest.raises(BadCheckpoint, match="is not among the store's own"):
        verified(place, kept)
    (place / "proof/checkpoints.jsonl").unlink()
    (found,) = verified(place, kept).findings
    assert found.after == 300


@pytest.mark.parametrize("line", [0, 3, 6])
def test_checkpoints_that_were_changed_or_taken_away_are_no_proof(signed: Path, tmp_path: Path, line: int) -> None:
    place = copy(signed, tmp_path / "data")
    path = place / "proof/checkpoints.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    changed = lines[line].replace(b'"position":', b'"position":1')
    path.write_bytes(b"".join([*lines[:line], changed, *lines[line + 1 :]]))
    with pytest.raises(BadCheckpoint):
        verified(place)
    if line < 6:
        path.write_bytes(b"".join(lines[:line] + lines[line + 1 :]))
        with pytest.raises(BadCheckpoint):
            verified(place)


def test_a_notary_signs_nothing_on_top_of_a_log_that_it_did_not_see(signed: Path, tmp_path: Path) -> None:
    place = copy(signed, tmp_path / "data")
    (place / "proof/chain").unlink()  # hashes are made anew as long as they come to what was signed
    notary = Notary(open_raw(place), place, "a" * 32)
    while notary.extend(90):
        assert notary.sign(0) is None
    assert notary.position == NUMBER
    notary.close()
    Hands(place / "log.db", random.Random(3), NUMBER).do("truncate", 650)
    with pytest.raises(Broken, match="ends at record 649"):
        Notary(open_raw(place), place, "a" * 32)


def test_a_power_cut_between_hashes_and_checkpoint_costs_nothing(signed: Path, tmp_path: Path) -> None:
    place = copy(signed, tmp_path / "data")
    store = SqliteRecorder(place / "log.db")
    store.insert_events(records(NUMBER, 50))
    notary = Notary(open_raw(place), place, "a" * 32)
    notary.extend(20)
    notary.close()  # killed: hashes without a checkpoint, and a line that was begun
    with (place / "proof/checkpoints.jsonl").open("ab") as file:
        file.write(b'{"format":1,"ha')
    assert verified(place).covered == NUMBER
    notary = Notary(open_raw(place), place, "a" * 32)
    while notary.extend(20):
        pass
    assert notary.sign(0) is not None
    assert notary.sign(1) is None
    notary.close()
    store.close()
    report = verified(place)
    assert report.good
    assert report.verified == NUMBER + 50
