"""The conversation of a helper: a program that needs nothing but Python 3.9, put on a server and started over SSH.

A JSON request comes on standard input, JSON lines (progress, result or error) leave on standard output. The end of
standard input means: give up. A line before that end means: and keep nothing for later.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any


class HelperError(Exception):
    """reason: the stable word for programs; the text is for the operator."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class GivenUp(BaseException):
    """The other side has gone or wants no more; BaseException, so that nothing takes it for an error of its own."""


# The other side has said that it wants no more: what came so far is of no use to anybody.
unwanted = threading.Event()


def emit(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def _read_request() -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(0, 65536)
        if not more:
            raise GivenUp
        line += more
    request: dict[str, Any] = json.loads(line)
    return request


def _watch_input() -> None:
    """The end of the input becomes a signal: it interrupts a read from the network or the disk as well."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            unwanted.set()
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _give_up(_signal: int, _frame: object) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # once is enough; clearing up must not be interrupted
    raise GivenUp


def main(operations: Mapping[str, Callable[[dict[str, Any]], Any]]) -> int:
    """Read one request, do it, answer; the exit status is for people, the answer for programs."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _give_up)
    try:
        request = _read_request()
        threading.Thread(target=_watch_input, daemon=True).start()
        answer = {"result": operations[request["operation"]](request)}
    except HelperError as error:
        answer = {"error": {"reason": error.reason, "message": str(error)}}
    except OSError as error:
        reason = "NO_SPACE" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "FAILED"
        where = f" {error.filename}" if error.filename else ""
        answer = {"error": {"reason": reason, "message": f"{error.strerror}{where}"}}
    except Exception as error:
        answer = {"error": {"reason": "FAILED", "message": f"{type(error).__name__}: {error}"}}
    except GivenUp:
        return 1
    with contextlib.suppress(OSError):
        emit(answer)
    return 0 if "result" in answer else 1
