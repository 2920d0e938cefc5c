"""Keeps the log's proof at its heels: hashes and a signed checkpoint at each interval, and one when the node stops."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from agents.runtime.children import ended
from zcloud.domain.operations.global_config import current
from zcloud.kernel.keep import keeper
from zcloud.kernel.proof.checkpoint import BadKey
from zcloud.kernel.proof.notary import Broken, follow
from zcloud.kernel.proof.worker import BAD_KEY

log = logging.getLogger(__name__)
# More than this is hashed by a process of its own: the interpreter belongs to those who wait for answers.
FEW = 2_000
SLICE = 100
REST_SECONDS = 0.002


class Proof:
    """The notary of one node. What it finds broken it says again at each interval, until somebody sees to it."""

    def __init__(self, node: Any, store: str) -> None:
        self.node = node
        # Why nothing is signed any more; empty when all is well.
        self.broken = ""
        self._store = store
        self._name = ""
        self._at = 0
        self._task: asyncio.Task[None] | None = None
        self._busy = asyncio.Lock()

    async def start(self) -> None:
        """Begin to follow the log."""
        cloud = self.node.cloud
        self._name = await asyncio.to_thread(self.node.recorder.incarnation, cloud.ids.new())
        self._task = keeper(self._run, "proof")

    async def close(self) -> None:
        """Sign what was written last."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.follow(last=True)

    async def _run(self) -> None:
        while True:
            await self.node.cloud.clock.sleep(float(await current(self.node.cloud, "audit", "checkpoint.interval")))
            # What is under way is not given up half-way: it holds the files.
            await asyncio.shield(self.follow())

    async def follow(self, *, last: bool = False) -> None:
        """Hash and sign what is new, if anything is."""
        async with self._busy:
            head = self.node.cloud.log.head
            if head == self._at:
                return
            try:
                if head - self._at > FEW and not last:
                    await self._apart()
                else:
                    where = self.node.directory, self._store, self._name, self.node.cloud.clock.now()
                    pace = (5_000, 0.0) if last else (SLICE, REST_SECONDS)
                    await asyncio.to_thread(follow, *where, *pace, self.node.cluster.name)
                self._at, self.broken = head, ""
            except Broken as error:
                self.broken = str(error)
                log.error("the log is not the one that was signed: %s; see zcloud audit verify", error)
            except BadKey as error:
                if self.broken != str(error):  # once: nothing becomes worse meanwhile
                    log.error("no checkpoint is signed any more: %s", error)
                self.broken = str(error)
            except Exception:
                log.exception("no checkpoint could be signed; it is tried again at the next interval")

    async def _apart(self) -> None:
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "zcloud.kernel.proof.worker",
            *("--data", str(self.node.directory), "--store", self._store, "--name", self._name),
            *("--node", self.node.cluster.name),
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            _, said = await worker.communicate()
        except asyncio.CancelledError:
            await ended(worker, 0)
            raise
        if worker.returncode == BAD_KEY:
            raise BadKey(said.decode(errors="replace").strip())
        if worker.returncode == 1 and said.count(b"\n") == 1:
            raise Broken(said.decode(errors="replace").strip())
        if worker.returncode:
            raise RuntimeError(said.decode(errors="replace")[-2000:])
