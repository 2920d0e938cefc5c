"""The deliveries of one webhook: in order, each at least once, again and again with longer pauses, then given up."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from google.protobuf.json_format import MessageToDict

from zcloud.api import position
from zcloud.api.operations.event import message_of
from zcloud.api.outbound import Unanswered, networks_of, post
from zcloud.domain.identity.account import ADMIN_UUID
from zcloud.domain.operations.global_config import current
from zcloud.domain.operations.webhook import DeadLetter, Webhook, WebhookDelivery
from zcloud.kernel.clock import SECOND
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.ids import derive
from zcloud.kernel.record import Record
from zcloud.kernel.unit import Unit
from zcloud.kernel.vault import SealedOtherwise

log = logging.getLogger(__name__)
READ = 500
# What happens at once is sent together.
GATHER_SECONDS = 0.1
# How often it is written down how far a webhook is; after a crash what was sent since is sent again.
KEEP_SECONDS = 1
# The pause after a first failure; each further one is twice as long.
PAUSE_SECONDS = 1.0
# Failures in a row after which it is said to be Failing, and refusals of one event after which that is given up.
PATIENCE = 3
# What the receiver may do better another time; any other refusal is about the event.
AGAIN = {408, 425, 429}
# What tells of deliveries is not delivered: that would never end.
OWN = f"{WebhookDelivery.kind}."


class Over(Exception):
    """There is nothing to be delivered any more, or another node does it."""


class Delivery:
    """One life of a webhook. What it keeps in memory may be lost: it goes on from where it was written down."""

    def __init__(self, node: Any, webhook: Webhook) -> None:
        self.node = node
        self.uuid = webhook.uuid
        self.changed = asyncio.Event()
        self._life = webhook.life
        self._name = cursor_name(webhook.uuid, webhook.life)
        self._position = 0
        self._kept = (0, 0)
        self._failures = 0
        # Position -> how often it was tried.
        self._tries: dict[int, int] = {}

    async def run(self) -> None:
        """Until it is over."""
        grown = self.node.growth.subscribe()
        try:
            self._position = await asyncio.to_thread(self._begin)
            while True:
                grown.clear()
                self.changed.clear()
                await self._redeliver(await self._webhook())
                if not await self._next():
                    await self._keep(now=True)
                    await self._wait(grown)
                    await asyncio.sleep(GATHER_SECONDS)
        except Over:
            pass
        finally:
            self.node.growth.unsubscribe(grown)
            await self._keep(now=True)

    def _begin(self) -> int:
        kept = self.node.recorder.followed(self._name)
        if kept:
            return int(kept)
        (born,) = self.node.recorder.read_stream(self.uuid, after=self._life, upto=self._life + 1)
        start = msgspec.json.decode(born.state).get("start", 0)
        return int(start or born.position)

    async def _webhook(self) -> Webhook:
        found = await self.node.cloud.load(self.uuid)
        if not isinstance(found, Webhook) or not found.exists or found.life != self._life:
            raise Over
        if found.state.value != "Enabled" or not self.node.cloud.leases.owns(self.uuid):
            raise Over
        return found

    async def _wait(self, *events: asyncio.Event, seconds: float | None = None) -> None:
        """For any of these, for a change of the webhook, or so long."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (*events, self.changed)]
        if seconds is not None:
            waiting.append(asyncio.ensure_future(self.node.cloud.clock.sleep(seconds)))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()

    async def _keep(self, *, now: bool = False) -> None:
        at, when = self._kept
        time = self.node.cloud.clock.now()
        if self._position > at and (now or time - when >= KEEP_SECONDS * SECOND):
            self._kept = (self._position, time)
            await asyncio.to_thread(self.node.recorder.follow_to, self._name, self._position)

    # -- what is new

    async def _next(self) -> bool:
        """Deliver from the next part of the log; False when there is none."""
        records: list[Record] = await asyncio.to_thread(self.node.recorder.read_all, self._position, READ)
        webhook = await self._webhook()
        batch: list[Record] = []
        for record in records:
            if _concerns(webhook, record):
                batch.append(record)
            if batch and (len(batch) >= webhook.batch_size or record is records[-1]):
                await self._deliver(batch)
                self._position, batch = batch[-1].position, []
                await self._keep()
        if records:
            self._position = records[-1].position
            await self._keep()
        return bool(records)

    async def _deliver(self, batch: Sequence[Record]) -> None:
        """Returns when all of it was taken or given up."""
        while batch:
            webhook = await self._webhook()
            try:
                await self._send(webhook, batch)
            except Unanswered as error:
                pause = await self._failed(webhook, error)
                if not error.again and len(batch) > 1:
                    # One of them may be what it does not take: the others shall not suffer for it.
                    for record in batch:
                        await self._deliver([record])
                    return
                batch = await self._give_up(webhook, batch, error)
                if batch:
                    self.changed.clear()
                    await self._wait(seconds=max(pause, error.after))
            else:
                await self._took(webhook)
                for record in batch:
                    self._tries.pop(record.position, None)
                return

    async def _send(self, webhook: Webhook, records: Sequence[Record], *, again: bool = False) -> None:
        """Raises Unanswered."""
        cloud = self.node.cloud
        events = [MessageToDict(message_of(record), preserving_proto_field_name=True) for record in records]
        delivery = derive("delivery", self.uuid, *(str(record.position) for record in records))
        body = msgspec.json.encode({"webhook": self.uuid, "delivery": delivery, "redelivery": again, "events": events})
        timestamp = str(cloud.clock.now() // SECOND)
        try:
            secret = self.node.vault.open(webhook.secret).encode()
        except SealedOtherwise as error:
            raise Unanswered(error.message, again=True) from error
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "zcloud",
            "Zcloud-Webhook": self.uuid,
            "Zcloud-Delivery": delivery,
            "Zcloud-Timestamp": timestamp,
            "Zcloud-Signature": f"v1={sign(secret, timestamp, body)}",
        }
        allowed = networks_of(await current(cloud, "webhook", "allowedNetworks"))
        seconds = float(await current(cloud, "webhook", "timeout"))
        answer = await post(webhook.url, body, headers, allowed, seconds)
        if not 200 <= answer.status < 300:
            later = answer.status >= 500 or answer.status in AGAIN
            longest = int(await current(cloud, "webhook", "retry.maxInterval"))
            text = f"it answers with HTTP status {answer.status}: {answer.text}"
            raise Unanswered(text, again=later, after=min(answer.retry_after, longest))

    async def _failed(self, webhook: Webhook, error: Unanswered) -> float:
        """How long to wait now."""
        self._failures += 1
        if self._failures == PATIENCE:
            await self._decide(webhook, lambda facts: facts.failing(str(error)))
        longest = float(await current(self.node.cloud, "webhook", "retry.maxInterval"))
        return float(min(longest, PAUSE_SECONDS * 2.0 ** min(self._failures - 1, 30)))

    async def _took(self, webhook: Webhook) -> None:
        if self._failures >= PATIENCE:
            await self._decide(webhook, lambda facts: facts.recovered())
        self._failures = 0

    async def _give_up(self, webhook: Webhook, batch: Sequence[Record], error: Unanswered) -> Sequence[Record]:
        """What is too old, or was refused too often, becomes a dead letter; gives what is left."""
        period = int(await current(self.node.cloud, "webhook", "giveUpPeriod")) * SECOND
        now = self.node.cloud.clock.now()
        gone: list[Record] = []
        for record in batch:
            self._tries[record.position] = self._tries.get(record.position, 0) + 1
            refused = not error.again and self._tries[record.position] >= PATIENCE
            if refused or now - record.time > period:
                gone.append(record)
        if gone:
            letters = tuple(self._letter(record, str(error), self._tries.pop(record.position)) for record in gone)
            await self._decide(webhook, lambda facts: facts.give_up(letters))
        return [record for record in batch if record not in gone]

    def _letter(self, record: Record, error: str, attempts: int) -> DeadLetter:
        now = self.node.cloud.clock.now()
        at = position.encode(record.position)
        return DeadLetter(at, record.topic, record.resource_uuid, error[:300], attempts, now)

    # -- dead letters that somebody wants to be sent once more

    async def _redeliver(self, webhook: Webhook) -> None:
        unit = Unit(self.node.cloud, Context(), self.node.cloud.clock.now())
        letters = [d for d in (await unit.companion(WebhookDelivery, webhook)).dead_letters if d.redelivering]
        for letter in letters:
            webhook = await self._webhook()
            at = position.decode(letter.position, "position")
            try:
                for record in await asyncio.to_thread(self.node.recorder.read_positions, [at]):
                    await self._send(webhook, [record], again=True)
            except Unanswered as error:
                now = self.node.cloud.clock.now()
                back = msgspec.structs.replace(
                    letter, error=str(error)[:300], attempts=letter.attempts + 1, give_up_date=now, redelivering=False
                )
                await self._decide(webhook, _giving_up(back))
            else:
                await self._took(webhook)
                await self._decide(webhook, _taken(letter))

    async def _decide(self, webhook: Webhook, body: Callable[[WebhookDelivery], None]) -> None:
        async def decide(unit: Unit) -> None:
            found = await unit.find(Webhook, webhook.uuid)
            if found is not None and found.life == self._life:
                body(await unit.companion(WebhookDelivery, found))

        cloud = self.node.cloud
        reason = "as its receiver answered"
        await cloud.decide(Context(SYSTEM, "webhooks", reason=reason, correlation_id=cloud.ids.new()), decide)


def _giving_up(letter: DeadLetter) -> Callable[[WebhookDelivery], None]:
    return lambda facts: facts.give_up((letter,))


def _taken(letter: DeadLetter) -> Callable[[WebhookDelivery], None]:
    return lambda facts: facts.redelivered((letter.position,))


def _concerns(webhook: Webhook, record: Record) -> bool:
    """What its owner may see, and wants to."""
    return (
        not record.topic.startswith(OWN)
        and (webhook.account_uuid == ADMIN_UUID or record.owner_uuid == webhook.account_uuid)
        and webhook.filter.takes(record.kind, record.topic, record.resource_uuid)
    )


def cursor_name(uuid: str, life: int) -> str:
    """Under which the store keeps how far a webhook is; a uuid that is used again begins anew."""
    return f"webhook.{uuid}.{life}"


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """What the receiver computes, and compares in constant time."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
