"""Verifies a log against its signed checkpoints, offline, and names the first record that is not what it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context

from zcloud.kernel.proof.chain import GENESIS, ChainFile, link_all
from zcloud.kernel.proof.checkpoint import Checkpoint
from zcloud.kernel.proof.locate import Finding, locate
from zcloud.kernel.proof.proof import Proof
from zcloud.kernel.proof.raw import Raw, Row
from zcloud.kernel.proof.shared import Chain

# What one process is given at a time, at least.
SHARE = 50_000
Marks = list[tuple[int, bytes]]


@dataclass
class Report:
    """What verifying found. covered: up to where a signature reaches; head: where the log ends."""

    store: str = ""
    head: int = 0
    covered: int = 0
    checkpoints: int = 0
    verified: int = 0
    findings: list[Finding] = field(default_factory=list)
    # How many nodes signed.
    nodes: int = 1
    # What speaks against checkpoints.
    wrong: list[str] = field(default_factory=list)
    # What is worth knowing, and does not speak against the log.
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing speaks against the log, or its checkpoints."""
        return not self.findings and not self.wrong


def verify(raw: Raw, proof: Proof, reopen: Callable[[], Raw] | None = None, jobs: int = 1) -> Report:
    """Check all that is signed. reopen: the same log for other processes; without it, this one does all."""
    signed, others = proof.signed, proof.others
    report = Report(raw.store(), raw.head(), signed[-1].position if signed else 0, proof.number, nodes=proof.nodes)
    report.wrong += proof.wrong
    report.notes += proof.notes
    report.findings += [
        Finding(c.position, "altered", f"the checkpoint is of store {c.store}, not of {report.store}", c.position)
        for c in (*signed[:1], *(chain.checkpoints[0] for chain in others))
        if c.store != report.store
    ]
    if raw.head() and raw.tail() < 1:
        report.findings.append(Finding(raw.tail(), "inserted", "positions begin with 1", 0))
    trusted = _marks(signed)
    everything = {*trusted, *(mark for chain in others for mark in _marks(chain.checkpoints))}
    agreed = sorted(everything)
    together = len(dict(agreed)) == len(agreed)
    if others and together and _first_wrong(raw, agreed, _between(proof.chain, trusted), reopen, jobs) is None:
        # All at once, since all is well; otherwise each is heard for itself.
        further = agreed[-1][0]
        if further > report.covered > 0:
            only = f"records {report.covered + 1} to {further} were signed by other nodes only"
            report.notes.append(f"{only}, whose keys are not kept here")
        report.covered = report.verified = further
        return _end(report)
    report.verified = report.covered
    _hear(raw, others, report, reopen, jobs)
    wrong = _first_wrong(raw, trusted, _between(proof.chain, trusted), reopen, jobs)
    if wrong is not None:
        start = max(mark for mark in trusted if mark[0] < wrong)
        end = min(mark for mark in trusted if mark[0] >= wrong)
        found = locate(raw, proof.chain, start, end)
        if found is None:
            report.notes.append(f"the hashes kept beside the log are damaged before {wrong}; the checkpoints decide")
            wrong = _first_wrong(raw, trusted, [], reopen, jobs)
            if wrong is not None:
                start = max(mark for mark in trusted if mark[0] < wrong)
                found = locate(raw, proof.chain, start, min(mark for mark in trusted if mark[0] >= wrong))
        if found is not None:
            report.findings.append(found)
            report.verified = start[0]
    return _end(report)


def _marks(signed: Sequence[Checkpoint]) -> Marks:
    return [(0, GENESIS), *((c.position, c.link) for c in signed)]


def _hear(raw: Raw, others: Sequence[Chain], report: Report, reopen: Callable[[], Raw] | None, jobs: int) -> None:
    """What each other node has signed, for itself: which record it is, only hashes beside the log could tell."""
    for chain in others:
        marks = _marks(chain.checkpoints)
        wrong = _first_wrong(raw, marks, [], reopen, jobs)
        if wrong is not None:
            after = max(mark[0] for mark in marks if mark[0] < wrong)
            text = f"the log does not come to what node {chain.node} signed at {wrong}"
            report.findings.append(Finding(after + 1, "somewhere", text, after))


def _end(report: Report) -> Report:
    if report.head > report.covered:
        report.notes.append(f"records {report.covered + 1} to {report.head} are not signed yet")
    return report


def _between(chain: ChainFile, trusted: Marks) -> Marks:
    """Hashes to begin at besides the checkpoints, so that several processes have something to do."""
    end = min(len(chain), trusted[-1][0])
    return [(position, chain.at(position)) for position in range(SHARE, end, SHARE)]


def _first_wrong(raw: Raw, trusted: Marks, between: Marks, reopen: Callable[[], Raw] | None, jobs: int) -> int | None:
    """The first mark that the log does not reach with the hash that it had."""
    marks = sorted({**dict(between), **dict(trusted)}.items())
    if reopen is None or jobs < 2 or marks[-1][0] < 2 * SHARE:
        return _walk(raw, marks)
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for wrong in pool.map(partial(_walk_apart, reopen), list(_shares(marks))):
            if wrong is not None:
                return wrong
    return None


def _shares(marks: Marks) -> Iterator[Marks]:
    share = marks[:1]
    for mark in marks[1:]:
        share.append(mark)
        if mark[0] - share[0][0] >= SHARE:
            yield share
            share = [mark]
    if len(share) > 1:
        yield share


def _walk_apart(reopen: Callable[[], Raw], marks: Marks) -> int | None:
    raw = reopen()
    try:
        return _walk(raw, marks)
    finally:
        raw.close()


def _walk(raw: Raw, marks: Marks) -> int | None:
    """Hash from the first mark through all others; that a record is missing shows in the hash as well."""
    (at, before), *rest = marks
    waiting = iter(rest)
    mark = next(waiting, None)
    for rows in raw.rows(at, marks[-1][0]):
        left: Sequence[Row] = rows
        while mark is not None and left and left[-1][0] >= mark[0]:
            here = [row for row in left if row[0] <= mark[0]]
            before = link_all(before, here)
            if before != mark[1]:
                return mark[0]
            left = left[len(here) :]
            mark = next(waiting, None)
        before = link_all(before, left)
    return mark[0] if mark is not None else None
