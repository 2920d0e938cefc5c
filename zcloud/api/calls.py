"""Every call is kept: who, from where, what, how long, how it ended, and what it wrote. Accepted, refused, or read."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from projections.call_log import CallLog
from zcloud.api.call import Call
from zcloud.api.call_record import Told
from zcloud.api.call_writer import CallWriter, ProcessWriter, ThreadWriter
from zcloud.api.rpcs import Rpc
from zcloud.domain.operations.global_config import current
from zcloud.domain.operations.settings import size_in_bytes
from zcloud.kernel.errors import Refused
from zcloud.kernel.keep import keeper
from zcloud.v1.operation_log_pb2 import OperationLog

log = logging.getLogger(__name__)
DAY = 86_400 * 1_000_000
SWEEP_SECONDS = 60.0
REMOVED = "RemoveOldOperationLogs"
# Of several nodes that share the log, one removes what is old.
SWEEPING = "operation log"


class Calls:
    """What the server's doors tell of every call. apart: written by a process of its own.

    store: postgresql://… where the log of all nodes lies, else it is in the node's directory.
    """

    def __init__(self, node: Any, store: str = "", *, apart: bool = False) -> None:
        self.node = node
        self.log = CallLog(node.directory, OperationLog, store)
        where = node.directory, store, node.cluster.name
        self._writer: CallWriter = ProcessWriter(*where) if apart else ThreadWriter(self.log, *where)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to keep calls, and to remove old ones."""
        await asyncio.to_thread(self.log.prepare)
        await self._writer.start()
        self._task = keeper(self._sweep, "old-calls", SWEEP_SECONDS)

    async def close(self) -> None:
        """Write what waits."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._writer.close()
        self.log.close()

    async def flush(self) -> None:
        """Returns when all calls that ended here before are in the log, unless its store is away."""
        await self._writer.flush()

    def keep(
        self,
        rpc: Rpc,
        began: int,
        source: str,
        client: str,
        call: Call | None,
        request: bytes,
        answer: bytes = b"",
        code: str = "OK",
        refused: Refused | None = None,
    ) -> None:
        """One call that has ended; began in microseconds. code: OK, or how it ended otherwise."""
        clock = self.node.cloud
        ended = max(clock.clock.now(), began)
        error, reason = (refused.message, refused.reason.value) if refused is not None else ("", "")
        if call is None:
            made = Told(rpc.name, clock.ids.new(), began, ended, source, client, code, error, reason, request=request)
            self._writer.add(made)
            return
        context, records = call.context, call.records
        actor = context.actor
        made = Told(
            rpc.name,
            context.causation_id,
            began,
            ended,
            source,
            client,
            code,
            error,
            reason,
            actor.account_uuid,
            actor.account_name,
            actor.session_uuid,
            context.reason,
            context.request_id,
            call.validate_only,
            request,
            answer,
            len(records),
            records[0].position if records else 0,
            records[-1].position if records else 0,
        )
        self._writer.add(made)

    # -- age and size

    async def _sweep(self) -> None:
        while True:
            try:
                await self.remove_old()
            except Refused as refused:
                log.warning("old calls are removed later: %s", refused.message)
            await self.node.cloud.clock.sleep(SWEEP_SECONDS)

    async def remove_old(self) -> int:
        """By the settings of now; what was removed, and what could not be kept, is said in the log."""
        cloud = self.node.cloud
        days = int(await current(cloud, "operationLog", "retention.days"))
        keep = int(await current(cloud, "operationLog", "retention.records"))
        size = size_in_bytes(await current(cloud, "operationLog", "retention.size"))
        now = cloud.clock.now()
        removed = 0
        if cloud.leases.owns(SWEEPING):
            removed = await asyncio.to_thread(self.log.remove, now - days * DAY, keep, size)
        lost, self._writer.lost = self._writer.lost, 0
        if removed or lost:
            said = json.dumps({"removed": removed, "lost": lost, "days": days, "records": keep, "size": size})
            self._writer.add(Told(REMOVED, cloud.ids.new(), now, now, "", "", "OK", account_name="system", said=said))
        return removed
