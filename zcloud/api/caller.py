"""The other end of a call, whatever carries it."""

from __future__ import annotations

from typing import Any, Protocol

import grpc


class Caller(Protocol):
    """The other end of a call, as grpc.aio shows it; all that an answer may use."""

    def peer(self) -> str:
        """Scheme and address."""

    def invocation_metadata(self) -> Any:
        """Pairs of key and value."""

    def set_trailing_metadata(self, trailing: Any) -> None:
        """What goes with the end of the answer."""

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing: Any = ()) -> Any:
        """End the call; always raises."""
