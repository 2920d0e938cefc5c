"""The server's own answer to bytes, without a socket between: as gRPC calls it, with all that a call is kept by."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import grpc

from zcloud.api.answers import Answers
from zcloud.api.rpcs import Rpc

# Of gRPC: what a client takes of metadata unless it was told otherwise.
TRAILERS = 8192
# Whoever has no answer by then never gets one.
SILENCE = 120.0
OURS = ("INTERNAL", "UNKNOWN")
# As many messages of a stream are read, and so long is waited for each.
FIRST, PATIENCE = 2, 0.002


class Aborted(Exception):
    """The call ended otherwise than well."""


class Context:
    """What a handler asks of gRPC."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self._metadata = tuple(metadata.items())
        self.trailers: Any = ()
        self.code = "OK"
        self.words = ""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def peer(self) -> str:
        return "ipv4:203.0.113.7:4711"

    def set_trailing_metadata(self, trailers: Any) -> None:
        self.trailers = trailers

    async def abort(self, code: grpc.StatusCode, words: str = "", trailers: Any = ()) -> None:
        self.code, self.words, self.trailers = code.name, words, trailers or self.trailers
        raise Aborted


class Kept:
    """What the call log was told last: which call it was, and how it ended."""

    def __init__(self) -> None:
        self.id = ""
        self.only = False


class Door:
    """Every RPC of a node. refused: ids of calls that must not have written; wrong: what must never be."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.calls = 0
        self.codes: dict[str, int] = {}
        self.refused: set[str] = set()
        self.wrong: list[str] = []
        self._kept = Kept()
        self._keep, node.calls.keep = node.calls.keep, self._hear
        self._methods = Answers(node, server_has).methods

    def _hear(self, rpc: Any, began: int, source: str, client: str, call: Any, *rest: Any, **more: Any) -> None:
        self._kept.id = call.context.causation_id if call is not None else ""
        self._kept.only = call is not None and call.validate_only
        self._keep(rpc, began, source, client, call, *rest, **more)

    async def call(self, rpc: Rpc, data: bytes, metadata: Mapping[str, str]) -> tuple[str, bytes]:
        """How it ended, and the answer."""
        context, answer = Context(metadata), b""
        self._kept = Kept()
        answered = self._methods[rpc.path].behaviour
        try:
            if rpc.takes_stream:
                async with asyncio.timeout(SILENCE):
                    answer = await answered(_once(data), context)
            elif rpc.streams:
                async with asyncio.timeout(SILENCE):
                    await _some(answered(data, context))
            else:
                waits = rpc.name.startswith("Wait")
                async with asyncio.timeout(PATIENCE if waits else SILENCE):
                    answer = await answered(data, context)
        except Aborted:
            pass
        except TimeoutError:  # a client that waits for what may never come hangs up
            if not rpc.name.startswith("Wait"):
                self.wrong.append(f"no answer within {SILENCE} s: {rpc.name} {data!r}")
        except Exception as error:  # what gRPC would answer with UNKNOWN
            context.code, context.words = "UNKNOWN", repr(error)
        self._judge(rpc, data, metadata, context)
        return context.code, answer

    def _judge(self, rpc: Rpc, data: bytes, metadata: Mapping[str, str], context: Context) -> None:
        self.calls += 1
        self.codes[context.code] = self.codes.get(context.code, 0) + 1
        shown = f"{rpc.name} {data!r} {dict(metadata)}"
        if context.code in OURS:
            self.wrong.append(f"{context.code}: {context.words}: {shown}")
        # What came of an upload before it was refused is kept on purpose.
        refused = context.code != "OK" and not rpc.takes_stream
        if self._kept.id and (refused or self._kept.only) and not rpc.streams:
            self.refused.add(self._kept.id)
        told = len(context.words) + sum(len(key) + len(value) + 32 for key, value in context.trailers)
        if told > TRAILERS:
            self.wrong.append(f"{told} bytes of trailers: {shown}")
        if context.code != "OK" and not context.words:
            self.wrong.append(f"{context.code} without a word: {shown}")


def server_has(rpc: Rpc) -> bool:
    """What agents call is behind a door of its own."""
    return rpc.name not in ("Connect", "Enroll")


async def _once(data: bytes) -> Any:
    yield data


async def _some(answers: Any) -> None:
    """The first messages; a stream that only waits is left."""
    try:
        for _ in range(FIRST):
            async with asyncio.timeout(PATIENCE):
                await anext(answers)
    except (StopAsyncIteration, TimeoutError):
        pass
    finally:
        await answers.aclose()


class Complaints(logging.Handler):
    """What the node says in its log with a traceback, or as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(logging.Formatter().format(record)[-3000:])
