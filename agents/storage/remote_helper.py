"""Small programs put on a server by SFTP and run there by SSH: a JSON request in, JSON lines out."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import shlex
from typing import Any

import asyncssh

from agents.runtime.task import TaskError, Work
from agents.storage.ssh import SshSession, lost

OLDEST_PYTHON = (3, 9)
GIVE_UP_SECONDS = 15.0


async def check_python(session: SshSession) -> None:
    """The helpers need nothing but a Python of the last years."""
    status, out, _ = await session.run("python3", "-c", "import sys; print(*sys.version_info[:2])")
    wanted = ".".join(map(str, OLDEST_PYTHON))
    if status != 0:
        raise TaskError("FAILED", f"{session.place} has no python3; install Python {wanted} or newer there")
    version = tuple(int(part) for part in out.split())
    if version < OLDEST_PYTHON:
        raise TaskError(
            "FAILED", f"{session.place} has Python {'.'.join(map(str, version))}; {wanted} or newer is needed"
        )


async def check_directory(session: SshSession, path: str) -> None:
    """NOT_FOUND when the directory is not there."""
    async with session.connection.start_sftp_client() as sftp:
        if not await sftp.isdir(path):
            raise TaskError("NOT_FOUND", f"{session.place} has no directory {path}; is its disk mounted?")


async def put_helper(session: SshSession, name: str, program: bytes, directory: str) -> str:
    """Put the program into the directory (made when missing) under a name that tells its content; returns its path."""
    path = f"{directory}/{name}-{hashlib.sha256(program).hexdigest()[:16]}"
    async with session.connection.start_sftp_client() as sftp:
        # Read back, not trusted by its name: a half-written or altered one must not run.
        with contextlib.suppress(asyncssh.SFTPNoSuchFile):
            async with sftp.open(path, "rb") as there:
                if bytes(await there.read()) == program:  # type: ignore[arg-type]
                    return path
        await sftp.makedirs(directory, asyncssh.SFTPAttrs(permissions=0o755), exist_ok=True)
        await put_file(sftp, program, path)
    return path


async def put_file(sftp: asyncssh.SFTPClient, content: bytes, path: str) -> None:
    """Write a file whole or not at all, whoever else writes it at the same time."""
    part = f"{path}.{secrets.token_hex(8)}.part"
    async with sftp.open(part, "wb", asyncssh.SFTPAttrs(permissions=0o600)) as file:
        await file.write(content)
    await sftp.posix_rename(part, path)


async def call_helper(session: SshSession, path: str, request: dict[str, Any], work: Work | None = None) -> Any:
    """Run the program with the request and return its result; its error is raised as TaskError.

    Standard input stays open for the time it runs: its end, wanted or by a lost connection, tells the program to
    give up and clear away what it began.
    """
    command = shlex.join(["python3", "-I", "-B", path])
    async with session.connection.create_process(command, encoding="utf-8", errors="replace") as process:
        with contextlib.suppress(ConnectionError):  # one that has ended already is heard below
            process.stdin.write(json.dumps(request) + "\n")
        answer = asyncio.ensure_future(_answer(session, process, work))
        aborted = asyncio.ensure_future((work.aborted if work else asyncio.Event()).wait())
        try:
            await asyncio.wait({answer, aborted}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                with contextlib.suppress(ConnectionError):
                    process.stdin.write("no more\n")
                    process.stdin.write_eof()
                await asyncio.wait({answer}, timeout=GIVE_UP_SECONDS)
                raise TaskError("ABORTED", "given up on request")
            return answer.result()
        finally:
            for task in (answer, aborted):
                task.cancel()
            await asyncio.gather(answer, aborted, return_exceptions=True)


async def _answer(session: SshSession, process: asyncssh.SSHClientProcess[str], work: Work | None) -> Any:
    async for line in process.stdout:
        try:
            message = json.loads(line)
        except ValueError:
            continue  # a login script's greeting
        if "progress" in message and work:
            work.progress(int(message["progress"]), str(message.get("detail", "")))
        elif "error" in message:
            raise TaskError(message["error"]["reason"], message["error"]["message"])
        elif "result" in message:
            return message["result"]
    await process.wait_closed()
    if process.exit_status is None:
        raise lost(session.place)
    tail = (await process.stderr.read()).strip().splitlines()[-1:]
    raise TaskError(
        "FAILED", f"the helper on {session.place} ended without an answer{': ' if tail else ''}{''.join(tail)}"
    )
