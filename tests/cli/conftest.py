"""A server for the tests of the command line: real gRPC, handlers made from the descriptors."""

import re
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory

from zcloud.cli import catalog
from zcloud.cli.main import main

TOKEN = "token-of-admin"
PASSWORD = "correct horse"


class FakeServer:
    """Answers what a test tells it to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, dict[str, str]]] = []
        self.answers: dict[str, Callable[[Any, grpc.ServicerContext], Any]] = {"LogInByAccount": self._log_in}
        self.tokens = {TOKEN}
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((_Handlers(self),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def say(self, name: str, *, refuse: Callable[[grpc.ServicerContext], None] | None = None, **fields: Any) -> None:
        """Answer every call of an RPC with this response, or refuse it."""

        def answer(_: Any, context: grpc.ServicerContext) -> Any:
            if refuse:
                refuse(context)
            return self.response(name, **fields)

        self.answers[name] = answer

    @staticmethod
    def response(name: str, **fields: Any) -> Any:
        return catalog.find(name).response_class(**fields)

    def calls_of(self, name: str) -> list[tuple[Any, dict[str, str]]]:
        return [(request, metadata) for called, request, metadata in self.calls if called == name]

    def answer(self, name: str, request: Any, context: grpc.ServicerContext) -> Any:
        metadata = dict(context.invocation_metadata())
        self.calls.append((name, request, metadata))
        rpc = catalog.find(name)
        if rpc.access != "public" and metadata.get("authorization") not in {f"Bearer {one}" for one in self.tokens}:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the session has ended")
        given = self.answers.get(name)
        asked = re.fullmatch(r'name = "(.*)"', getattr(request, "filter", ""))
        if asked and not given:  # unless a test says something else, things are there, with names for uuids
            return rpc.response_class(inventories=[{"uuid": asked[1]}])
        return given(request, context) if given else rpc.response_class()

    def _log_in(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.password != PASSWORD:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong account name or password")
        answer: Any = catalog.find("LogInByAccount").response_class()
        answer.inventory.token = next(iter(self.tokens))
        return answer


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, server: FakeServer) -> None:
        self._server = server

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        name = details.method.rpartition("/")[2]
        method = catalog.find(name).method
        coders = {
            "request_deserializer": message_factory.GetMessageClass(method.input_type).FromString,
            "response_serializer": message_factory.GetMessageClass(method.output_type).SerializeToString,
        }

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            return self._server.answer(name, request, context)

        if not method.server_streaming:
            return grpc.unary_unary_rpc_method_handler(answer, **coders)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            yield from answer(request, context)

        return grpc.unary_stream_rpc_method_handler(stream, **coders)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with an empty cache, on a machine without a server's data."""
    for name in ("ZCLOUD_SERVER", "ZCLOUD_TOKEN", "ZCLOUD_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ZCLOUD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("time.sleep", lambda _: None)
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A server on this machine, whose password file the command line may read."""
    running = FakeServer()
    monkeypatch.setenv("ZCLOUD_SERVER", running.address)
    (home / "data" / "admin-password").write_text(PASSWORD + "\n")
    yield running
    running.stop()


class Ran:
    """What a command printed, and its exit status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def zcloud(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs the command line in this process."""

    def run(*words: str) -> Ran:
        capsys.readouterr()
        status = main(list(words))
        return Ran(status, *capsys.readouterr())

    return run
