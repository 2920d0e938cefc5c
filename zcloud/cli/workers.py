"""zcloud serve --workers N: so many nodes on one machine, behind one address, each on a core of its own.

They are nodes like any others on the same store, with directories of their own; the kernel shares out connections.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from zcloud.api.tls import TOLD
from zcloud.cli import tls
from zcloud.cli.errors import CliError

log = logging.getLogger(__name__)
DOORS = ("listen", "listen_agents", "listen_enrolment")
SERVES = "zcloud serves on "
AGAIN_SECONDS = 1.0
END_SECONDS = 20.0


class Workers:
    """Starts them one after the other, and again what has died."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._directory = Path(options.data)
        self._held = {door: _hold(getattr(options, door)) for door in DOORS}
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        try:
            keepers = []
            for number in range(1, self._options.workers + 1):
                # One after the other: the first one makes the tables, and the key that all of them need.
                serves = loop.create_future()
                keepers.append(loop.create_task(self._keep(number, serves)))
                if await self._first(serves, keepers) is not None:
                    return 1
            print(f"{SERVES}{self._held['listen'][0]}", flush=True)
            await self._stopping.wait()
            return 0
        finally:
            await self._end()
            for _, holder in self._held.values():
                holder.close()

    async def _first(self, serves: asyncio.Future[None], keepers: list[asyncio.Task[None]]) -> int | None:
        """None when it serves; else the status with which the newest one has ended before it did."""
        stop = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({serves, keepers[-1], stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        return None if serves.done() else 1

    async def _keep(self, number: int, serves: asyncio.Future[None]) -> None:
        while not self._stopping.is_set():
            process = self._processes[number] = await self._start(number)
            assert process.stdout is not None
            async for line in process.stdout:
                if line.decode(errors="replace").startswith(SERVES):
                    self._show(number)
                    if not serves.done():
                        serves.set_result(None)
            status = await process.wait()
            if not serves.done():
                return  # it says itself why it could not start
            if not self._stopping.is_set():
                log.error("worker %d ended with %d; starting it again", number, status)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        o = self._options
        name = f"{o.node_name or socket.gethostname()}-{number}"
        argv = ["--data", self._of(number), "--store", o.store, "--node-name", name, "--share-ports"]
        argv += ["--vault-key", o.vault_key or self._directory / "vault.key", "--lease", o.lease]
        argv += ["--agent-base", o.agent_base, "--log-level", o.log_level, *tls.arguments(o)]
        for door, (address, _) in self._held.items():
            argv += [f"--{door.replace('_', '-')}", address]
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "zcloud.cli.main",
            "serve",
            *map(str, argv),
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is this process's to answer
        )

    def _of(self, number: int) -> Path:
        return self._directory / f"worker-{number}"

    def _show(self, number: int) -> None:
        """The first start leaves the admin's password where a single node would; so does TLS what clients trust."""
        made = self._of(number) / "admin-password"
        if made.exists():
            with contextlib.suppress(FileExistsError):
                os.link(made, self._directory / "admin-password")
        if number == 1:
            (self._directory / TOLD).unlink(missing_ok=True)
            (self._directory / TOLD).symlink_to(Path(self._of(1).name) / TOLD)

    async def _end(self) -> None:
        self._stopping.set()
        alive = [process for process in self._processes.values() if process.returncode is None]
        for process in alive:
            process.terminate()
        for process in alive:
            try:
                await asyncio.wait_for(process.wait(), END_SECONDS)
            except TimeoutError:
                process.kill()


def _hold(address: str) -> tuple[str, socket.socket]:
    """The address with its port, kept for the workers. Raises CliError when somebody else has it."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_server((host, int(port))) as alone:
            taken = alone.getsockname()[1]
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((host, taken))  # it does not listen, so that nothing is ever given to it
    except (OSError, ValueError) as error:
        raise CliError(f"serve: cannot listen on {address}: {error}") from None
    return f"{host}:{taken}", holder
