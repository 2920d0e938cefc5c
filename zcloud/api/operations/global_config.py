"""What is not standard about settings: they are named by category and name, and none is created by a caller."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.domain.operations.global_config import GlobalConfig, change
from zcloud.domain.operations.settings import known
from zcloud.kernel.unit import Unit


@command("UpdateGlobalConfig")
async def update_global_config(call: Call, unit: Unit, request: Any) -> GlobalConfig:
    """Takes effect at once; an absent value is the default."""
    config = await unit.get(GlobalConfig, *known(request.category, request.name).uuids)
    await change(unit, config, request.value if request.HasField("value") else None)
    return config


@command("ResetGlobalConfig")
async def reset_global_config(call: Call, unit: Unit, request: Any) -> GlobalConfig:
    """Back to the default; what has it already is no change."""
    del call
    config = await unit.get(GlobalConfig, *known(request.category, request.name).uuids)
    await change(unit, config, None)
    return config
