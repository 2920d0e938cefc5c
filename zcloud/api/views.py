"""What decisions may ask of the read models: who is whose child, who refers to whom."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, func, select

from projections.follower import Follower
from projections.schema.registry import ReadModels
from projections.schema.tables import OWNER
from zcloud.kernel.cloud import Cloud


class Views:
    """The port "views" of the kernel's units. Answers hold everything that was committed before the question."""

    def __init__(self, cloud: Cloud, follower: Follower, engine: Engine, models: ReadModels) -> None:
        self._cloud = cloud
        self._follower = follower
        self._engine = engine
        self._models = models

    async def where(self, kind: str, **equal: Any) -> list[str]:
        """Uuids of the resources of a kind whose columns have these values, oldest first."""
        table = self._models[kind].table
        statement = select(table.c.uuid).order_by(table.c.create_date, table.c.uuid)
        for column, value in equal.items():
            statement = statement.where(table.c[column] == value)
        return await self._scalars(statement)

    async def holding(self, kind: str, field: str, value: str, column: str = "value") -> list[str]:
        """Uuids of the resources of a kind whose list holds a value; column: the one of a list of messages."""
        side = self._models[kind].sides[field]
        return await self._scalars(select(side.c.resource_uuid).where(side.c[column] == value).distinct())

    async def referring(self, kind: str, field: str, uuid: str) -> list[str]:
        """Uuids of the resources of a kind that name another: in a field, a list, or parts of a list (part.field)."""
        if kind not in self._models:
            return []
        if field == "account_uuid":
            return await self.owned(kind, uuid)
        if field in self._models[kind].table.c:
            return await self.where(kind, **{field: uuid})
        name, _, column = field.partition(".")
        return await self.holding(kind, name, uuid, column or "value")

    async def rows(self, kind: str, *columns: str) -> list[dict[str, Any]]:
        """These columns of all resources of a kind, absent texts as empty ones; enums in short form."""
        table = self._models[kind].table
        found = await self._all(select(*(table.c[column] for column in columns)))
        return [{name: "" if value is None else value for name, value in row.items()} for row in found]

    async def lists(self, kind: str, field: str) -> dict[str, list[str]]:
        """What a list of each resource of a kind holds, by uuid."""
        side = self._models[kind].sides[field]
        found: dict[str, list[str]] = {}
        for row in await self._all(select(side.c.resource_uuid, side.c.value).order_by(side.c.idx)):
            found.setdefault(row["resource_uuid"], []).append(row["value"])
        return found

    async def earlier(self, kind: str, column: str, than: int, most: int) -> list[str]:
        """Uuids of the resources of a kind whose date lies before a moment, oldest first."""
        date = self._models[kind].table.c[column]
        return await self._scalars(
            select(self._models[kind].table.c.uuid).where(date < than).order_by(date).limit(most)
        )

    async def tally(self, kind: str, column: str) -> dict[str, int]:
        """How many resources of a kind have each value."""
        by = self._models[kind].table.c[column]
        found = await self._all(select(by.label("value"), func.count().label("number")).group_by(by))
        return {row["value"]: row["number"] for row in found if row["value"]}

    async def owned(self, kind: str, account_uuid: str) -> list[str]:
        """Uuids of the resources of a kind that an account owns."""
        table = self._models[kind].table
        return await self._scalars(select(table.c.uuid).where(table.c[OWNER] == account_uuid))

    def kinds(self) -> list[str]:
        """All kinds that have a read model."""
        return [model.kind for model in self._models]

    async def _scalars(self, statement: Any) -> list[str]:
        def read() -> list[str]:
            with self._engine.connect() as connection:
                return list(connection.execute(statement).scalars())

        return await self._follower.read(read)

    async def _all(self, statement: Any) -> list[dict[str, Any]]:
        def read() -> list[dict[str, Any]]:
            with self._engine.connect() as connection:
                return [dict(row) for row in connection.execute(statement).mappings()]

        return await self._follower.read(read)
