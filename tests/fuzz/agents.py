"""The agents' doors asked with random messages: by an agent that may, by one that is another's, and by strangers."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from agents.runtime.identity import certificate_request, load_or_make_key
from tests.fuzz.messages import Messages
from zcloud.api.pki import NODE_NAME, Authority
from zcloud.api.rpcs import rpcs
from zcloud.v1.agent_pb2 import ConnectRequest, ConnectResponse, EnrollRequest, Hello, TaskReport

CONNECT, ENROLL = rpcs()["Connect"], rpcs()["Enroll"]
OPTIONS = (("grpc.ssl_target_name_override", NODE_NAME), ("grpc.enable_http_proxy", 0))
# What a session may end with, however it was meant.
PATIENCE = 120.0
# The client's own library says so when it writes to a call that is over.
OWN = "Internal error from Core"
RSA_REQUEST = (Path(__file__).parent / "rsa_request.pem").read_text()


@dataclass
class Told:
    """How calls ended, and what was asked of the agent meanwhile."""

    messages: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    tasks: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)

    def note(self, code: str) -> None:
        self.codes[code] = self.codes.get(code, 0) + 1


@dataclass(frozen=True)
class Papers:
    """What an agent shows at the door."""

    authority: bytes
    key: bytes | None = None
    certificate: bytes | None = None

    def channel(self, endpoint: str) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)
        return grpc.aio.secure_channel(endpoint, credentials, options=OPTIONS)


def papers(directory: Path, node: Any, identity: str, signed_by: Authority | None = None) -> Papers:
    """Signed by the cloud's authority, or by another one."""
    directory.mkdir(exist_ok=True)
    key = load_or_make_key(directory)
    made, _ = (signed_by or node.authority).sign_request(certificate_request(key, identity).decode(), identity)
    return Papers(node.authority.pem, key, made.encode())


class Agent:
    """Says what it likes. known: uuids of tasks, also of those that others were sent."""

    def __init__(self, chance: random.Random, messages: Messages, told: Told) -> None:
        self.chance, self.messages, self.told = chance, messages, told
        self._answers: list[bytes] = []

    async def session(self, channel: grpc.aio.Channel, host_uuid: str, messages: int) -> str:
        """Once in, and out again; the code."""
        call = channel.stream_stream(CONNECT.path)()
        code = "CUT OFF"
        try:
            async with asyncio.timeout(PATIENCE):
                await call.write(self._hello(host_uuid))
                listening = asyncio.create_task(self._listen(call))
                for _ in range(messages):
                    await call.write(self._message())
                    self.told.messages += 1
                    await asyncio.sleep(0)
                await asyncio.sleep(0.01)  # what it is asked for in answer, it answers
                for answer in self._answers:
                    await call.write(answer)
                self._answers.clear()
                if self.chance.random() < 0.3:
                    call.cancel()
                else:
                    await call.done_writing()
                await listening
                code = (await call.code()).name
        except (asyncio.InvalidStateError, grpc.aio.UsageError):
            code = (await call.code()).name  # refused before all was said
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        finally:
            call.cancel()
        if code == "INTERNAL" and await call.details() == OWN:
            code = "CLOSED"
        self.told.note(code)
        return code

    async def told_why(self, channel: grpc.aio.Channel, host_uuid: str) -> str:
        """The code of a session in which nothing is said after the hello: none of it can come too late."""
        call = channel.stream_stream(CONNECT.path)()
        try:
            async with asyncio.timeout(PATIENCE):
                await call.write(self._hello(host_uuid))
                await self._listen(call)
                return str((await call.code()).name)
        finally:
            call.cancel()

    def _hello(self, host_uuid: str) -> bytes:
        return ConnectRequest(hello=Hello(host_uuid=host_uuid, agent_version="1")).SerializeToString()

    def _message(self) -> bytes:
        """Mostly a message, now and then some bytes."""
        if self.chance.random() < 0.005:
            return self.chance.randbytes(self.chance.randrange(60))
        evil = self.chance.choice((0.0, 0.02, 0.2))
        made: Any = self.messages.message(ConnectRequest, CONNECT, evil)
        if made.WhichOneof("message") in ("report", "progress") and self.told.tasks and self.chance.random() < 0.5:
            getattr(made, made.WhichOneof("message")).task_uuid = self.chance.choice(sorted(self.told.tasks))
        return bytes(made.SerializeToString())

    async def _listen(self, call: Any) -> None:
        """Each task is answered, by what may be no answer to it."""
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            async for data in call:
                answer = ConnectResponse.FromString(data)
                if answer.HasField("task"):
                    self.told.tasks.add(answer.task.task_uuid)
                    self._answers.append(self._report(answer.task))
                elif answer.HasField("recorded"):
                    self.told.answered.add(answer.recorded.task_uuid)

    def _report(self, task: Any) -> bytes:
        evil = self.chance.choice((0.0, 0.1))
        report = TaskReport(task_uuid=task.task_uuid, succeeded=self.chance.random() < 0.6)
        name = task.args.TypeName().removesuffix("Task") + "Result"
        result = self.messages.result(name if self.chance.random() < 0.8 else "", CONNECT, evil)
        report.result.Pack(result)
        if not report.succeeded:
            report.error, report.error_reason = self.messages.text(evil), self.messages.text(0.5)
        return ConnectRequest(report=report).SerializeToString()


@contextlib.asynccontextmanager
async def doors(endpoint: str, *shown: Papers) -> AsyncIterator[list[grpc.aio.Channel]]:
    """A connection for each."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(one.channel(endpoint)) for one in shown]


class Enrolling:
    """Asks for certificates by tokens that are right, used, or none."""

    def __init__(self, chance: random.Random, messages: Messages, directory: Path) -> None:
        self.chance, self.messages = chance, messages
        key = load_or_make_key(directory)
        self._right = certificate_request(key, "anybody").decode()
        self.tokens: list[str] = []
        self.told = Told()

    def request(self) -> tuple[bytes, bool]:
        """And whether it may be granted."""
        chance, right = self.chance, self._right
        if chance.random() < 0.1:
            return chance.randbytes(chance.randrange(80)), False
        at = chance.randrange(30, len(right) - 30)
        spoilt = "A" if right[at] != "A" else "B"
        wrong = (right[:at], right[:at] + spoilt + right[at + 1 :], RSA_REQUEST, "", "x" * 20, right * 60)
        token = chance.choice([*self.tokens, self.messages.text(0.3), ""])
        request = chance.choice((right, chance.choice(wrong)))
        if not all(part.isprintable() for part in token):
            token = "-"
        made = EnrollRequest(token=token, certificate_request=request)
        return made.SerializeToString(), token in self.tokens and request == right

    async def ask(self, channel: grpc.aio.Channel) -> tuple[str, bool]:
        """How it ended, and whether it was right."""
        data, right = self.request()
        self.told.messages += 1
        code = "OK"
        try:
            await channel.unary_unary(ENROLL.path)(data, timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        self.told.note(code)
        return code, right
