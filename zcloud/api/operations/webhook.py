"""What is not standard about webhooks: where they begin, how far they are, and their dead letters."""

from __future__ import annotations

import asyncio
from typing import Any

from zcloud.api import position
from zcloud.api.call import Call
from zcloud.api.handlers import command, query
from zcloud.api.reading import read_one
from zcloud.api.standard import arguments
from zcloud.api.webhook_delivery import cursor_name
from zcloud.domain.operations.webhook import Webhook, WebhookDelivery
from zcloud.kernel.errors import invalid
from zcloud.kernel.unit import Unit


@command("CreateWebhook")
async def create_webhook(call: Call, unit: Unit, request: Any) -> Webhook:
    """From now on, or from a position that an answer gave."""
    given = arguments(call, request)
    token = given.pop("from_position", "")
    start = position.decode(token, "from_position") if token else 0
    if start > call.node.cloud.log.head:
        raise invalid("from_position", token, "the log is not that long")
    made = await unit.new(Webhook, request.resource_uuid)
    made.create(**given, start=start)
    (await unit.companion(WebhookDelivery, made)).begin()
    return made


@query("GetWebhook")
async def get_webhook(call: Call, request: Any) -> Any:
    """With how far it is, which lies outside the log."""
    response: Any = call.rpc.response.FromString(await read_one(call, request))
    webhook = await call.node.cloud.load(request.uuid)
    if isinstance(webhook, Webhook) and not (request.HasField("at_time") or request.at_position):
        at = await asyncio.to_thread(call.node.recorder.followed, cursor_name(webhook.uuid, webhook.life))
        response.inventory.delivered_position = position.encode(at) if at else ""
    return response


@command("RedeliverWebhookDeadLetters")
async def redeliver(call: Call, unit: Unit, request: Any) -> Webhook:
    """What fails again is a dead letter again."""
    webhook = await unit.get(Webhook, request.uuid)
    (await unit.companion(WebhookDelivery, webhook)).redeliver(request.positions)
    return webhook


@command("DropWebhookDeadLetters")
async def drop(call: Call, unit: Unit, request: Any) -> Webhook:
    """The log keeps the events."""
    webhook = await unit.get(Webhook, request.uuid)
    (await unit.companion(WebhookDelivery, webhook)).drop(request.positions)
    return webhook
