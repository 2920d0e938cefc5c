"""An export can be verified by anybody, also by the program in docs/audit.md, and shows what was done to it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.proof.logs import log_with_checkpoints
from zcloud.kernel.proof.checkpoint import BadCheckpoint
from zcloud.kernel.proof.export import export, opened, verify_file
from zcloud.kernel.proof.proof import Proof
from zcloud.kernel.proof.raw import open_raw
from zcloud.kernel.proof.verify import Report

DOCUMENT = Path(__file__).parents[3] / "docs/audit.md"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("export") / "data"
    log_with_checkpoints(directory, 300, 50)
    return directory


def exported(data: Path, path: Path, after: int = 0, until: int = 300) -> Path:
    raw, proof = open_raw(data), Proof.of(data)
    with opened(path, "xb") as file:
        assert export(raw, proof.signed, proof.chain, file, after, until) == until - after
    raw.close()
    return path


def verified(path: Path, *keys: str) -> Report:
    with opened(path, "rb") as file:
        return verify_file(file, keys)


@pytest.mark.parametrize(("after", "until", "covered"), [(0, 300, 300), (70, 260, 250), (100, 110, 0)])
@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_any_part_of_the_log(data: Path, tmp_path: Path, after: int, until: int, covered: int, suffix: str) -> None:
    path = exported(data, tmp_path / f"evidence.{suffix}", after, until)
    if not covered:
        with pytest.raises(BadCheckpoint, match="nothing in it is proven"):
            verified(path)
        return
    report = verified(path)
    assert (report.good, report.covered, report.head) == (True, covered, until)
    with pytest.raises(BadCheckpoint, match="unknown key"):
        verified(path, "bm9ib2R5")


def test_a_part_without_the_hash_file_is_the_same(data: Path, tmp_path: Path) -> None:
    one = exported(data, tmp_path / "one.jsonl", 70).read_bytes()
    (data / "proof/chain").rename(tmp_path / "chain")
    try:
        assert exported(data, tmp_path / "other.jsonl", 70).read_bytes() == one
    finally:
        (tmp_path / "chain").rename(data / "proof/chain")


def test_what_was_done_to_the_file_is_found(data: Path, tmp_path: Path) -> None:
    lines = exported(data, tmp_path / "evidence.jsonl").read_text().splitlines(keepends=True)
    path = tmp_path / "changed.jsonl"
    at = next(n for n, line in enumerate(lines) if line.startswith("[123,"))
    for changed, kind in (
        ([*lines[:at], lines[at].replace("alice", "mallory"), *lines[at + 1 :]], "altered"),
        ([*lines[:at], *lines[at + 1 :]], "missing"),
        ([*lines[:at], lines[at - 1], *lines[at:]], "inserted"),
    ):
        path.write_text("".join(changed))
        (found,) = verified(path).findings
        assert (found.position, found.kind, found.after) == (123, kind, 100)
    # Without the hashes of records, which anybody can make anew, the checkpoint still speaks.
    rows = [json.loads(line) for line in lines]
    rows[at][8] = "0" * 32
    for row in rows:
        if isinstance(row, list):
            row[-1] = "0" * 64
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = verified(path).findings
    assert (found.position, found.after) == (101, 100)
    path.write_text("".join(lines[1:]))
    with pytest.raises(BadCheckpoint, match="no export"):
        verified(path)


def test_the_program_in_the_document_verifies_it(data: Path, tmp_path: Path) -> None:
    path = exported(data, tmp_path / "evidence.jsonl", 20)
    program = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S)[-1]
    key = (data / "proof/key.pub").read_text().split()[-1]

    def run() -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", program, key, str(path)]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    done = run()
    assert done.stdout.splitlines()[-1] == "right up to record 300", done.stderr
    path.write_text(path.read_text().replace("because", "besause", 1))
    assert run().returncode != 0
