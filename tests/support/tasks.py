"""Running one task handler in a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message

from agents.runtime.task import Handler, TaskError, Work


def new_work(report: Callable[[int, str], None] = lambda _percent, _detail: None) -> Work:
    return Work("task", "resource", 1, report)


def run(handler: Handler[Any, Any], args: Message, work: Work | None = None) -> Any:
    return asyncio.run(handler.run(args, work or new_work()))


def probe(handler: Handler[Any, Any], args: Message) -> Any:
    return asyncio.run(handler.probe(args))


def failure(handler: Handler[Any, Any], args: Message, work: Work | None = None) -> TaskError:
    """The error that the task must end with."""
    with pytest.raises(TaskError) as caught:
        run(handler, args, work)
    return caught.value
