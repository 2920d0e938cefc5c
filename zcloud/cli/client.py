"""Calls to the server: metadata, session, and retries that are safe because of the request id."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

import grpc
from google.protobuf.message import Message

from zcloud.cli import catalog, session
from zcloud.cli.arguments import Options
from zcloud.cli.catalog import Rpc
from zcloud.cli.errors import UsageError
from zcloud.cli.failures import CallError
from zcloud.cli.server import Server

_LOG_IN = "LogInByAccount"
REQUEST = "zcloud-request"
_BACK_OFF = (0.2, 0.5, 1.0, 2.0)
_TIMEOUT = 60.0
_CHANNEL = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.enable_retries", 0),  # ours know about the request id
    ("grpc.enable_http_proxy", 0),  # a management network is not reached by the proxy of the browser
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
)

Metadata = list[tuple[str, str]]
T = TypeVar("T")


class Client:
    """One server, one session."""

    def __init__(self, server: Server) -> None:
        self.server = str(server)
        self._hint = server.hint
        self._channel = server.channel(_CHANNEL)
        self._session: session.Session | None = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def call(self, rpc: Rpc, request: Message, options: Options | None = None) -> Message:
        """One answer for one request; retried while the server is away, under one request id."""
        theirs, options = options is not None, options or Options()
        extra = call_metadata(rpc, options)
        timeout = options.timeout or _timeout(request)
        stub = self._channel.unary_unary(rpc.path, type(request).SerializeToString, rpc.response_class.FromString)

        def once(authorization: Metadata) -> Message:
            return stub(request, timeout=timeout, metadata=[*extra, *authorization])

        # What the command line calls by itself is nothing that its user could send again.
        request_id = dict(extra).get(REQUEST, "") if theirs else ""
        return self._with_session(rpc, lambda authorization: self._retried(lambda: once(authorization)), request_id)

    def stream(self, rpc: Rpc, request: Message, options: Options | None = None) -> Iterator[Message]:
        """The answers of a server stream, as they come; an interruption is the caller's to resume."""
        options = options or Options()
        extra = call_metadata(rpc, options)
        stub = self._channel.unary_stream(rpc.path, type(request).SerializeToString, rpc.response_class.FromString)

        def begin(authorization: Metadata) -> tuple[list[Message], Iterator[Message]]:
            answers = stub(request, timeout=options.timeout, metadata=[*extra, *authorization])
            # The first answer is awaited here, for a session that has ended shows only then.
            first = next(answers, None)
            return ([] if first is None else [first]), answers

        first, answers = self._with_session(rpc, lambda authorization: begin(authorization))
        yield from first
        try:
            yield from answers
        except grpc.RpcError as error:
            raise self._failed(rpc, error) from None

    def upload(self, rpc: Rpc, requests: Callable[[], Iterator[Message]], options: Options | None = None) -> Message:
        """One answer for a stream of requests; an interruption is the caller's to resume."""
        options = options or Options()
        extra = call_metadata(rpc, options)
        stub = self._channel.stream_unary(
            rpc.path, lambda request: bytes(request.SerializeToString()), rpc.response_class.FromString
        )

        def once(authorization: Metadata) -> Message:
            return stub(requests(), timeout=options.timeout, metadata=[*extra, *authorization])

        return self._with_session(rpc, once)

    def log_in(self, account_name: str, password: str) -> session.Session:
        """A new session, kept for the next calls."""
        rpc = catalog.find(_LOG_IN)
        request: Any = rpc.new_request()
        request.account_name, request.password = account_name, password
        answer: Any = self.call(rpc, request)
        made = session.Session(answer.inventory.token, account_name)
        session.keep(self.server, made)
        return made

    def token(self) -> str:
        """Of a session that has just been good for a call."""
        rpc = catalog.find("QuerySession")
        self.call(rpc, rpc.new_request())
        assert self._session is not None
        return self._session.token

    def _with_session(self, rpc: Rpc, run: Callable[[Metadata], T], request_id: str = "") -> T:
        try:
            if rpc.access == "public":
                return run([])
            try:
                return run(self._authorization())
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAUTHENTICATED or not self._may_log_in_again():
                    raise
                self._session = self._log_in_here()
                return run(self._authorization())
        except grpc.RpcError as error:
            raise self._failed(rpc, error, request_id) from None

    def _failed(self, rpc: Rpc, error: grpc.RpcError, request_id: str = "") -> CallError:
        return CallError(rpc.name, self.server, error, self._hint(error.details() or ""), request_id)

    def _authorization(self) -> Metadata:
        if self._session is None:
            self._session = session.from_environment() or session.cached(self.server) or self._log_in_here()
        return [("authorization", f"Bearer {self._session.token}")]

    def _may_log_in_again(self) -> bool:
        # Never as somebody else than the session that has ended.
        return self._session is not None and self._session.account_name == session.ADMIN

    def _log_in_here(self) -> session.Session:
        return self.log_in(session.ADMIN, session.admin_password(self.server))

    def _retried(self, run: Callable[[], T]) -> T:
        for pause in _BACK_OFF:
            try:
                return run()
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                time.sleep(pause)
        return run()


def call_metadata(rpc: Rpc, options: Options) -> Metadata:
    """What a call carries besides its request and its session."""
    made: Metadata = []
    if rpc.mutating:
        request_id = options.request or str(uuid.uuid4())
        if not request_id.isascii() or not request_id.isprintable():
            raise UsageError(f"--request {request_id!r}: printable ASCII is expected.")
        made.append((REQUEST, request_id))
    if options.reason:
        try:
            made.append(("zcloud-reason", quote(options.reason, safe="")))
        except UnicodeEncodeError:
            raise UsageError("--reason: UTF-8 text is expected.") from None
    if options.validate_only:
        made.append(("zcloud-validate-only", "true"))
    if options.if_version is not None:
        made.append(("zcloud-if-version", str(options.if_version)))
    return made


def _timeout(request: Message) -> float:
    # A call that waits on purpose (WaitJob) is given what it asked for, and time to answer.
    waits = "timeout_seconds" in request.DESCRIPTOR.fields_by_name
    return _TIMEOUT + (getattr(request, "timeout_seconds", 0) or 60.0 if waits else 0.0)
