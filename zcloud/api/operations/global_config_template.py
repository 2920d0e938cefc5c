"""ApplyGlobalConfigTemplate: all of its settings in one append, with what goes by them (UI-04)."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.pipeline import inventory, respond
from zcloud.domain.operations.global_config import GlobalConfig, change
from zcloud.domain.operations.global_config_template import GlobalConfigTemplate
from zcloud.domain.operations.settings import known
from zcloud.kernel.unit import Unit
from zcloud.v1.global_config_pb2 import GlobalConfig as GlobalConfigMessage


@command("ApplyGlobalConfigTemplate")
async def apply_global_config_template(call: Call, unit: Unit, request: Any) -> Any:
    """A setting that has the value already is no change."""
    template = await unit.get(GlobalConfigTemplate, request.uuid)
    response: Any = await respond(call, unit, template)
    for entry in template.entries:
        config = await unit.get(GlobalConfig, *known(entry.category, entry.name).uuids)
        before = config.value
        await change(unit, config, entry.value)
        if config.value != before:
            response.changed.append(await inventory(unit, GlobalConfigMessage, config))
    return response
