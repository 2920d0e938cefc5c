"""One task done by its handler, and whatever came of it as a report."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Any

from google.protobuf.message import DecodeError, Message

from agents.runtime.redact import redact
from agents.runtime.task import Handler, TaskError, Work
from zcloud.v1.agent_pb2 import Task, TaskReport

log = logging.getLogger(__name__)


def failed(task: Task, reason: str, message: str, args: Message | None = None) -> TaskReport:
    """The report of a task that was not done."""
    return TaskReport(task_uuid=task.task_uuid, error_reason=reason, error=redact(message, args))


def arguments(handler: Handler[Any, Any], task: Task) -> Message:
    """The typed arguments; TaskError when they are not what their type says."""
    args = handler.task()
    try:
        task.args.Unpack(args)
    except DecodeError:
        # The parser's own words could hold parts of the arguments.
        raise TaskError("INVALID", f"the arguments of {task.args.TypeName()} cannot be read") from None
    return args


async def perform(handler: Handler[Any, Any], args: Message, task: Task, work: Work, begun: bool) -> TaskReport:
    """Do it, or settle what an earlier life of the agent began. Raises only when cancelled."""
    name = handler.task.DESCRIPTOR.name
    scope = asyncio.timeout(task.timeout_seconds or None)
    try:
        async with scope:
            result = await _effect(handler, args, work, begun)
    except TaskError as error:
        if not scope.expired():
            return failed(task, error.reason, error.message, args)
    except Exception as error:
        if not scope.expired():
            text = redact("".join(traceback.format_exception(error)), args)
            log.error("task %s (%s) failed unexpectedly:\n%s", task.task_uuid, name, text)
            return failed(task, "FAILED", str(error) or type(error).__name__, args)
    else:
        if not isinstance(result, handler.result):
            return failed(task, "FAILED", f"{name} ended with {type(result).__name__} instead of its result")
        report = TaskReport(task_uuid=task.task_uuid, succeeded=True)
        report.result.Pack(result)
        return report
    return failed(task, "TIMEOUT", f"{name} was not done within {task.timeout_seconds} s; how far it came is not known")


async def _effect(handler: Handler[Any, Any], args: Message, work: Work, begun: bool) -> Message:
    if begun:
        result: Message | None = await handler.probe(args)
        if result is not None:
            return result
    # Given up while it waited for its turn.
    work.check()
    done: Message = await handler.run(args, work)
    return done
