"""A batch of decisions made ready for a store that checks and writes all of it in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eventsourcing.persistence import IntegrityError

from zcloud.kernel.record import Append, Record
from zcloud.kernel.store import RequestTaken
from zcloud.kernel.store.rows import stream_name

WRITTEN, CONFLICT, TAKEN = 0, 1, 2


@dataclass(frozen=True)
class Answer:
    """What the store says of each decision that was sent, in order: first position, time, fate."""

    firsts: Sequence[int | None]
    stamps: Sequence[int | None]
    fates: Sequence[int]


class Batch:
    """Which decisions are sent, what the store must check for them, and which rest on others of the same batch.

    Decisions are numbered from 1 as they are sent. What contradicts an earlier one of the batch is not sent but a
    conflict at once, even if that one falls in the end: it is decided again, which is always right.
    """

    def __init__(self, appends: Sequence[Append]) -> None:
        self._appends = appends
        self.sent: list[Append] = []
        self.checks: list[tuple[int, str, int]] = []
        self.rests: list[tuple[int, int]] = []
        self.fences: list[tuple[int, int, int]] = []
        # Index -> number when it was sent, the error when it can't be, the number whose request id it bears.
        self._numbers: dict[int, int] = {}
        self._doomed: dict[int, str] = {}
        self._repeats: dict[int, int] = {}
        # Stream -> its version after this batch, and who writes it last.
        self._ahead: dict[str, tuple[int, int]] = {}
        # Stream -> the version that failed: another writer's change may have the same number.
        self._failed: dict[str, int] = {}
        self._requests: dict[tuple[str, str], int] = {}
        for index, append in enumerate(appends):
            self._take(index, append)

    def _take(self, index: int, append: Append) -> None:
        read = (*append.bases.items(), *append.guards.items())
        wrong = next(filter(None, (self._wrong(stream, version) for stream, version in read)), "")
        key = (append.request.account_uuid, append.request.request_id) if append.request is not None else None
        if wrong or key in self._requests:
            if wrong:
                self._doomed[index] = wrong
            elif key is not None:
                self._repeats[index] = self._requests[key]
            for stream, base in append.bases.items():
                self._failed[stream] = min(self._failed.get(stream, base + 1), base + 1)
            return
        self.sent.append(append)
        number = self._numbers[index] = len(self.sent)
        if append.fence is not None:
            self.fences.append((number, *append.fence))
        if key is not None:
            self._requests[key] = number
        for stream, version in read:
            if stream in self._ahead:
                self.rests.append((number, self._ahead[stream][1]))
            else:
                self.checks.append((number, stream, version))
        ends = dict(append.bases)
        for record in append.records:
            stream = stream_name(record.originator_id)
            if stream in ends:
                ends[stream] = record.originator_version
        for stream, version in ends.items():
            self._ahead[stream] = (version, number)

    def _wrong(self, stream: str, expected: int) -> str:
        if expected >= self._failed.get(stream, expected + 1):
            return f"an earlier change of {stream} failed"
        version, _ = self._ahead.get(stream, (expected, 0))
        return f"stream {stream} is at version {version}, not {expected}" if version != expected else ""

    def outcomes(self, answer: Answer) -> list[list[Record] | Exception]:
        """What came of each decision of the batch, in the order in which they were given."""
        found: list[list[Record] | Exception] = []
        for index, append in enumerate(self._appends):
            if index in self._doomed:
                found.append(IntegrityError(self._doomed[index]))
            elif index in self._repeats:
                taken = answer.fates[self._repeats[index] - 1] in (WRITTEN, TAKEN)
                found.append(_taken(append) if taken else IntegrityError("an earlier try of the same request failed"))
            else:
                found.append(_outcome(append, answer, self._numbers[index] - 1))
        return found


def _taken(append: Append) -> RequestTaken:
    return RequestTaken(append.request.request_id if append.request is not None else "")


def _outcome(append: Append, answer: Answer, n: int) -> list[Record] | Exception:
    fate, first, stamp = answer.fates[n], answer.firsts[n], answer.stamps[n]
    if fate == TAKEN:
        return _taken(append)
    if fate == CONFLICT or first is None or stamp is None:
        return IntegrityError(f"one of {', '.join((*append.bases, *append.guards))} has moved on")
    return [r.at(first + k, stamp) for k, r in enumerate(append.records)]
