"""Waits for a job: shows its steps and their progress on stderr, and tells how it ended."""

import sys
import time
from types import TracebackType
from typing import Any, Protocol

from zcloud.cli import catalog
from zcloud.cli.client import Client
from zcloud.cli.errors import UNAVAILABLE, CliError
from zcloud.cli.failures import CallError, printable
from zcloud.cli.naming import short_form

ENDED = ("Succeeded", "Failed", "Canceled", "Stuck")
_STARTED = ("Running", "Undoing")
_WAITS = "waits for another job of the same resource"
_BACK_OFF = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)


class View(Protocol):
    """Shows a job as it goes on."""

    def __enter__(self) -> "View": ...
    def __exit__(self, *error: Any) -> None: ...
    def show(self, job: Any) -> None:
        """The job has changed."""


def wait(client: Client, uuid: str) -> Any:
    """Watch a job to its end and return it; watching goes on when the server comes back."""
    rpc = catalog.find("WatchJob")
    request: Any = rpc.new_request()
    request.uuid = uuid
    attempt = 0
    with view() as shown:
        while True:
            try:
                for answer in client.stream(rpc, request):
                    attempt = 0
                    job = answer.inventory  # type: ignore[attr-defined]
                    shown.show(job)
                    if state_of(job) in ENDED:
                        return job
            except CallError as error:
                if error.status != UNAVAILABLE or attempt >= len(_BACK_OFF):
                    raise
            if attempt >= len(_BACK_OFF):
                raise CliError(f"job {uuid}: the server no longer tells how it goes; zcloud GetJob uuid={uuid}")
            time.sleep(_BACK_OFF[attempt])
            attempt += 1


def state_of(message: Any) -> str:
    """The state of a job or of a step, in short form."""
    return short_form(message.DESCRIPTOR.fields_by_name["state"].enum_type, message.state) or "Waiting"


def why(job: Any) -> str:
    """How a job ended, and what went wrong, in plain words."""
    lines = [f"job {job.name or job.workflow} {job.uuid}: {state_of(job)}"]
    if job.error:
        lines[0] += f": {printable(job.error)}"
    lines += [
        f"step {step.name}: {state_of(step)}: {printable(step.error)}"
        for step in job.steps
        if step.error not in ("", job.error, job.first_error)
    ]
    if job.first_error not in ("", job.error):
        lines.insert(1, f"it was being undone because of this: {printable(job.first_error)}")
    if state_of(job) == "Stuck":
        lines.append(f"What it did could not be undone: zcloud RetryJob uuid={job.uuid}, or SkipJobStep.")
    return "\n  ".join(lines)


def view() -> View:
    """Bars on a terminal, lines elsewhere."""
    return Bars() if sys.stderr.isatty() else Lines()


class Lines:
    """A line when a step begins and when it ends."""

    def __init__(self) -> None:
        self._states: dict[int, str] = {}
        self._waiting = False

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, job: Any) -> None:
        """Say what has changed."""
        if state_of(job) == "Waiting" and not self._waiting:
            self._waiting = True
            self._say(_WAITS)
        for index, step in enumerate(job.steps):
            state = state_of(step)
            if state in (self._states.get(index), "Pending"):
                continue
            self._states[index] = state
            took = f" ({seconds(step)})" if step.HasField("finish_date") and state not in _STARTED else ""
            error = f": {printable(step.error)}" if step.error else ""
            self._say(f"{step.name}: {state.lower()}{took}{error}")

    def _say(self, text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)


class Bars:
    """A bar for each step, on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[said]}", markup=False),
            console=Console(stderr=True),
        )
        self._tasks: dict[int, Any] = {}
        self._waiting = False

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, job: Any) -> None:
        """Draw what has changed."""
        if state_of(job) == "Waiting" and not self._waiting:
            self._waiting = True
            self._progress.console.print(_WAITS)
        for index, step in enumerate(job.steps):
            state = state_of(step)
            if index not in self._tasks:
                self._tasks[index] = self._progress.add_task(step.name, total=100, start=False, said="")
            task = self._tasks[index]
            if state in _STARTED:
                self._progress.start_task(task)
            said = step.error or (step.detail if state in _STARTED else "" if state == "Pending" else state)
            done = 100 if state == "Done" else step.percent
            self._progress.update(task, completed=done, said=printable(said))
            if state not in (*_STARTED, "Pending"):
                self._progress.stop_task(task)


def seconds(step: Any) -> str:
    """How long a step took."""
    took = step.finish_date.ToNanoseconds() - step.start_date.ToNanoseconds()
    return f"{took / 1e9:.1f} s"
