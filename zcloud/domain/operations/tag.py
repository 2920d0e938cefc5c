"""Tag: a coloured mark, of the admin for everything or of an account for what that owns (TAG-01..03)."""

from __future__ import annotations

import enum
import re
from typing import Any

from zcloud.domain.identity.account import ADMIN_UUID
from zcloud.kernel.errors import Reason, invalid, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import Creation, Resource

BLUE = "#1890ff"
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


class TagType(enum.Enum):
    """By who made it."""

    ADMIN = "Admin"
    TENANT = "Tenant"


def type_of(account_uuid: str) -> TagType:
    """What the tags of an account are."""
    return TagType.ADMIN if account_uuid == ADMIN_UUID else TagType.TENANT


class Tag(Resource, kind="tag"):
    """value: the text that it marks with; it stays, since filters and scripts go by it, when the name changes."""

    # What it is on may be much: a job takes it off, when nothing more can come on.
    delete_workflow = "delete_resource"

    type: TagType = TagType.TENANT
    value: str = ""
    color: str = BLUE

    class Created(Creation):
        """Somebody made it."""

        type: TagType
        value: str
        color: str

    class ColorChanged(Event):
        """It is shown in another colour."""

        color: str

        def apply(self, aggregate: Any) -> None:
            aggregate.color = self.color

    def create(self, *, name: str, description: str = "", value: str = "", color: str = BLUE) -> None:
        """value: the name when absent."""
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                type=type_of(self.account_uuid),
                value=value or name,
                color=_must_be_color(color),
            )
        )

    def update(self, *, name: str | None = None, description: str | None = None, color: str | None = None) -> None:
        """What is the same is no event."""
        super().update(name=name, description=description)
        if color is not None and _must_be_color(color) != self.color:
            self.trigger(self.ColorChanged(color=_must_be_color(color)))

    def must_go_on(self, resource: Resource) -> None:
        """A tenant's tag goes on nothing but what that tenant owns (TAG-03)."""
        if self.type is TagType.TENANT and resource.account_uuid != self.account_uuid:
            text = (
                f'tag "{self.name}" belongs to account {self.account_uuid}, and {resource.kind} "{resource.name}" '
                f"to {resource.account_uuid}; an account's tag goes on what that account owns"
            )
            raise precondition(Reason.NOT_ALLOWED, text, resource_uuid=resource.uuid)


def _must_be_color(text: str) -> str:
    if not _COLOR.fullmatch(text):
        raise invalid("color", text, f"must be # and six hex digits, such as {BLUE}")
    return text.lower()
