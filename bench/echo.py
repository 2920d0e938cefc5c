"""The limit of a call: gRPC servers of the same library that parse nothing and answer bytes of a given number."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from bench.load import Load, Target, drive, same

PATH = "/bench.Echo/Echo"
KINDS = ("aio", "sync", "two aio")
CALIBRATE_SECONDS = 0.5


def _serve(kind: str, answer: bytes, port: str) -> None:
    if kind == "aio":
        import uvloop

        uvloop.run(_aio(answer, port))
        return
    server = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(lambda _request, _context: answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", {"Echo": handler}),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


async def _aio(answer: bytes, port: str) -> None:
    async def echo(_request: bytes, _context: Any) -> bytes:
        return answer

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", {"Echo": handler}),))
    taken = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(taken, flush=True)
    await asyncio.Event().wait()


class Echo:
    """A server that runs. kind: which of them it is."""

    def __init__(self, kind: str, answer_bytes: int) -> None:
        self.kind, port = kind, "0"
        self._processes = []
        count, _, one = kind.rpartition(" ")
        for _ in range(2 if count else 1):  # the second one at the port of the first
            argv = [sys.executable, "-m", "bench.echo", one, str(answer_bytes), port]
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            self._processes.append(process)
        self.address = f"127.0.0.1:{port}"

    def drive(self, request: bytes, seconds: float, token: str = "", **how: Any) -> Load:
        """The same calls as zcloud gets: request, metadata, connections, number in flight."""
        return drive(Target(self.address, PATH, token), same(request), seconds, **how)

    def stop(self) -> None:
        """End it."""
        for process in self._processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def fastest_echo(request: bytes, answer_bytes: int) -> Iterator[Echo]:
    """The faster of those that there are, for messages of this size."""
    servers = [Echo(kind, answer_bytes) for kind in KINDS]
    try:
        best = max(servers, key=lambda server: server.drive(request, CALIBRATE_SECONDS).rate)
        for server in servers:
            if server is not best:
                server.stop()
        yield best
    finally:
        for server in servers:
            server.stop()


if __name__ == "__main__":
    _serve(sys.argv[1], b"\0" * int(sys.argv[2]), sys.argv[3])
