"""Keeps a delivery running for each webhook that is enabled and that this node sees to."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from zcloud.api.webhook_delivery import OWN, Delivery
from zcloud.domain.operations.webhook import Webhook
from zcloud.kernel.keep import keeper
from zcloud.kernel.record import Record

log = logging.getLogger(__name__)
# After something unforeseen, and to see what a change of owner has brought.
LOOK_SECONDS = 5.0


class Webhooks:
    """Of one node."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self._deliveries: dict[str, tuple[Delivery, asyncio.Task[None]]] = {}
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Go on with what is not delivered yet."""
        self.node.cloud.log.listen(self._hear)
        self.node.cloud.leases.listen(lambda *_: self._look.set())
        self._task = keeper(self._run, "webhooks")

    async def close(self) -> None:
        """No more; how far each is, is written down."""
        tasks = [task for _, task in self._deliveries.values()]
        if self._task is not None:
            tasks.append(self._task)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _hear(self, records: list[Record]) -> None:
        for record in records:
            if record.kind == Webhook.kind:
                self._look.set()
                # What a delivery says itself, it knows.
                news = not record.topic.startswith(OWN) or record.topic.endswith(".RedeliveryAsked")
                if news and record.resource_uuid in self._deliveries:
                    self._deliveries[record.resource_uuid][0].changed.set()

    async def _run(self) -> None:
        while True:
            self._look.clear()
            pause = None
            try:
                pause = await self._begin_what_is_due()
            except Exception:
                log.exception("webhooks: it is tried again in a moment")
                pause = LOOK_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def _begin_what_is_due(self) -> float | None:
        """How soon to look again; None when somebody will say so."""
        for uuid, (_, task) in list(self._deliveries.items()):
            if task.done():
                del self._deliveries[uuid]
                if not task.cancelled() and task.exception() is not None:
                    log.error("the deliveries of webhook %s broke off", uuid, exc_info=task.exception())
        for uuid in await self.node.views.where(Webhook.kind):
            webhook = await self.node.cloud.load(uuid)
            due = isinstance(webhook, Webhook) and webhook.exists and webhook.state.value == "Enabled"
            if due and uuid not in self._deliveries and self.node.cloud.leases.owns(uuid):
                delivery = Delivery(self.node, webhook)
                task = asyncio.get_running_loop().create_task(delivery.run(), name=f"webhook-{uuid}")
                self._deliveries[uuid] = (delivery, task)
        return LOOK_SECONDS if self._deliveries else None
