"""Registry of what is not standard: handlers by RPC name. Standard RPCs need none (see standard.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import Message

from zcloud.kernel.unit import Unit

if TYPE_CHECKING:
    from zcloud.api.call import Call

# A command decides in a unit; it gives the resource for the inventory, or the whole response.
Command = Callable[["Call", Unit, Any], Awaitable[Any]]
# A query reads; an action does something else (a login). Both give the response, or its bytes.
Query = Callable[["Call", Any], Awaitable[Message | bytes]]
Stream = Callable[["Call", Any], AsyncIterator[Message]]

F = TypeVar("F", bound=Callable[..., Any])
commands: dict[str, Command] = {}
queries: dict[str, Query] = {}
streams: dict[str, Stream] = {}


def command(rpc: str) -> Callable[[F], F]:
    """The decorated coroutine decides for an RPC: async def f(call, unit, request) -> resource or response."""
    return _register(commands, rpc)


def query(rpc: str) -> Callable[[F], F]:
    """The decorated coroutine answers an RPC that decides nothing by itself: async def f(call, request) -> response."""
    return _register(queries, rpc)


def stream(rpc: str) -> Callable[[F], F]:
    """The decorated async generator answers an RPC with many messages: async def f(call, request)."""
    return _register(streams, rpc)


def _register(into: dict[str, Any], rpc: str) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        if rpc in commands or rpc in queries or rpc in streams:
            raise TypeError(f"{rpc} has a handler already")
        into[rpc] = function
        return function

    return decorate
