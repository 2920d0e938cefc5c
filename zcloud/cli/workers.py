"""zcloud serve --workers N: so many nodes on one machine, behind one address, each on a core of its own.

They are nodes like any others on the same store, with directories of their own; the kernel shares out connections.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path

from agents.runtime.children import begin, ended, kill
from zcloud.api.addresses import hold
from zcloud.api.server import NoDoor
from zcloud.api.tls import TOLD
from zcloud.cli import tls
from zcloud.cli.errors import CliError
from zcloud.kernel.keep import BrokeOff, keep
from zcloud.kernel.store import leave_mark

DOORS = ("listen", "listen_agents", "listen_enrolment")
SERVES = "zcloud serves on "
AGAIN_SECONDS = 1.0
END_SECONDS = 20.0


class Workers:
    """Starts them one after the other, and again what has died."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._directory = Path(options.data)
        self._held = {door: _held(getattr(options, door)) for door in DOORS}
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._served: set[int] = set()
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        try:
            for number in range(1, self._options.workers + 1):
                # One after the other: the first one makes the tables, and the key that all of them need.
                serves = loop.create_future()
                self._keepers.append(loop.create_task(self._keep(number, serves), name=f"worker-{number}"))
                if await self._first(serves, self._keepers[-1]) is not None:
                    return 1
            print(f"{SERVES}{self._held['listen'][0]}", flush=True)
            await self._stopping.wait()
            return 0
        finally:
            await self._end()
            for _, holder in self._held.values():
                holder.close()

    async def _first(self, serves: asyncio.Future[None], keeper: asyncio.Task[None]) -> int | None:
        """None when it serves; else the status with which it has ended before it did. Raises why it can't be begun."""
        stop = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({serves, keeper, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if serves.done():
            return None
        if keeper.done():
            keeper.result()
        return 1

    async def _keep(self, number: int, serves: asyncio.Future[None]) -> None:
        """Until all are to stop. One that could never be begun ends this; it says itself why it could not start."""
        never: list[Exception] = []

        async def serve() -> None:
            try:
                await self._run(number, serves)
            except Exception as error:
                if serves.done():
                    raise
                never.append(error)

        await keep(serve, f"worker-{number}", AGAIN_SECONDS, self._rest)
        if never:
            raise never[0]

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _run(self, number: int, serves: asyncio.Future[None]) -> None:
        """One process, until it is gone."""
        if self._stopping.is_set():
            return
        process = self._processes[number] = await self._start(number)
        if self._stopping.is_set():
            process.terminate()
        served = False
        try:
            assert process.stdout is not None
            async for line in process.stdout:
                if line.decode(errors="replace").startswith(SERVES):
                    served = True
                    self._served.add(number)
                    self._show(number)
                    if not serves.done():
                        serves.set_result(None)
            status = await process.wait()
        except Exception:
            kill(process)  # another one takes its place, and its name
            raise
        if serves.done() and not self._stopping.is_set():
            raise BrokeOff(f"it ended with {status}", served=served)

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        o = self._options
        name = f"{o.node_name or socket.gethostname()}-{number}"
        argv = ["--data", self._of(number), "--store", o.store, "--node-name", name, "--share-ports"]
        argv += ["--vault-key", o.vault_key or self._directory / "vault.key", "--lease", o.lease]
        argv += ["--fronts", "0"]  # the nodes are as many as were asked for
        argv += ["--agent-base", o.agent_base, "--log-level", o.log_level, *tls.arguments(o)]
        # One that never served yet says at once what is wrong with its store.
        argv += ["--worker", "again" if number in self._served else "first"]
        for door, (address, _) in self._held.items():
            argv += [f"--{door.replace('_', '-')}", address]
        return await begin("zcloud.cli.main", "serve", *argv)

    def _of(self, number: int) -> Path:
        return self._directory / f"worker-{number}"

    def _show(self, number: int) -> None:
        """The first start leaves the admin's password where a single node would; so does TLS what clients trust."""
        made = self._of(number) / "admin-password"
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            os.link(made, self._directory / "admin-password")
        if number == 1:
            leave_mark(self._directory)
            (self._directory / TOLD).unlink(missing_ok=True)
            (self._directory / TOLD).symlink_to(Path(self._of(1).name) / TOLD)

    async def _end(self) -> None:
        self._stopping.set()
        for process in self._processes.values():
            if process.returncode is None:
                process.terminate()
        if self._keepers:  # one of which may be about to start another
            await asyncio.wait(self._keepers, timeout=END_SECONDS)
        for process in self._processes.values():
            await ended(process, 0)


def _held(address: str) -> tuple[str, socket.socket]:
    try:
        return hold(address)
    except NoDoor as error:
        raise CliError(f"serve: {error}") from None
