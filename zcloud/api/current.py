"""One resource as it is now, from the decisions' own memory: no read model need be waited for, or asked."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from projections.query.viewer import Viewer
from projections.render import kind_of, messages_of, render
from projections.schema.values import clear_secrets, has_secret
from zcloud.kernel.aggregate import Aggregate, companions_of
from zcloud.kernel.resource import Resource

RENDERED = 50_000


class Current:
    """The documents of the resources that were asked for lately, each of one state of it."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._rendered: OrderedDict[tuple[str, str], tuple[list[Aggregate | None], bytes]] = OrderedDict()

    async def get(self, kind: str, uuid: str, viewer: Viewer) -> bytes | None:
        """The message as bytes, without its secrets; None where there is none that the viewer may see.

        It holds everything that was answered before, and nothing that is not in the log.
        """
        parts = await self._parts(kind, uuid)
        if parts is None or not await self._sees(kind, parts[0], viewer):
            return None
        key = (kind, uuid)
        found = self._rendered.get(key)
        if found is not None and len(found[0]) == len(parts) and all(map(_same, found[0], parts)):
            return found[1]
        document = self._render(kind, parts)
        self._rendered[key] = (parts, document)
        self._rendered.move_to_end(key)
        if len(self._rendered) > RENDERED:
            self._rendered.popitem(last=False)
        return document

    async def _parts(self, kind: str, uuid: str) -> list[Aggregate | None] | None:
        """The resource and what stands beside it, as the log has it."""
        cloud = self._node.cloud
        while True:
            main = await cloud.load(uuid)
            if not isinstance(main, Resource) or kind not in main.kinds:
                # What is decided, and not yet written, is not there yet; nor is it gone yet.
                if await cloud.written((uuid,)):
                    return None
                continue
            parts: list[Aggregate | None] = [main]
            streams = [uuid]
            for cls in companions_of(main.kinds):
                stream = cls.stream_of(uuid, main.life)
                parts.append(await cloud.load(stream, cls))
                streams.append(stream)
            if await cloud.written(streams):
                return parts if main.exists else None

    async def _sees(self, kind: str, main: Aggregate | None, viewer: Viewer) -> bool:
        if viewer.is_admin:
            return True
        model = self._node.models[kind]
        if model.admin_only or not viewer.account_uuid:
            return False
        assert isinstance(main, Resource)
        account = viewer.account_uuid
        if main.account_uuid == account or main.shared_to_public or account in main.shared_with:
            return True
        if not model.part_of:
            return False
        whole = await self._parts(model.part_of, getattr(main, f"{model.part_of}_uuid", ""))
        return whole is not None and await self._sees(model.part_of, whole[0], viewer)

    def _render(self, kind: str, parts: list[Aggregate | None]) -> bytes:
        main = parts[0]
        assert main is not None
        shown = next(t for t in messages_of(main.kind) if kind_of(t) == kind)
        message = render(shown, *(part for part in parts if part is not None))
        if has_secret(message.DESCRIPTOR):
            clear_secrets(message)
        return message.SerializeToString(deterministic=True)


def _same(one: Aggregate | None, other: Aggregate | None) -> bool:
    return one is other
