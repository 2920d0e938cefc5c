"""What decisions may ask of the read models: who is whose child, who refers to whom."""

from __future__ import annotations

import asyncio
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

    async def owned(self, kind: str, account_uuid: str) -> list[str]:
        """Uuids of the resources of a kind that an account owns."""
        table = self._models[kind].table
        return await self._scalars(select(table.c.uuid).where(table.c[OWNER] == account_uuid))

    def kinds(self) -> list[str]:
        """All kinds that have a read model."""
        return [model.kind for model in self._models]

    async def _scalars(self, statement: Any) -> list[str]:
        await self._follower.reached(self._cloud.log.head)

        def read() -> list[str]:
            with self._engine.connect() as connection:
                return list(connection.execute(statement).scalars())

        return await asyncio.to_thread(read)

    async def _all(self, statement: Any) -> list[dict[str, Any]]:
        await self._follower.reached(self._cloud.log.head)

        def read() -> list[dict[str, Any]]:
            with self._engine.connect() as connection:
                return [dict(row) for row in connection.execute(statement).mappings()]

        return await asyncio.to_thread(read)
