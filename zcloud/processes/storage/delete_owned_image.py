"""Deletes an image with the account that owns it: an ISO is taken out of the drives of all VMs that have it first.

It may have been shared with others, whose VMs stay (VM-31, behaviours 7).
"""

from __future__ import annotations

from typing import Any

from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, SubJob
from zcloud.processes.operations.deletion import REACTIONS, DeleteResource
from zcloud.processes.storage.iso_drives import EJECT_SECONDS, next_drive

EJECT = Step("eject", next_drive, timeout=EJECT_SECONDS, repeat=True, tolerant=True)


class DeleteOwnedImage(DeleteResource, name="delete_owned_image", version=1, title="delete"):
    """As every deletion, when the drives are empty."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return (EJECT, *super().steps(args))


async def with_account(unit: Unit, image: Resource, account: Resource, order: dict[str, str]) -> SubJob | None:
    """From the account's deletion."""
    del unit, account
    return SubJob("delete_owned_image", image, {**order, "kind": image.kind})


REACTIONS["image", "account"] = with_account
