"""One host's agent from start to stop: enrolment, journal, tasks, session."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agents.runtime.channel import Doors
from agents.runtime.config import AgentConfig
from agents.runtime.dispatch import Dispatcher
from agents.runtime.enroll import NodeUnreachable, enroll
from agents.runtime.identity import Identity, end, made
from agents.runtime.journal import Journal
from agents.runtime.outbox import Outbox
from agents.runtime.renewal import Renewal
from agents.runtime.session import Session, backoff
from agents.runtime.task import Handler
from zcloud.v1.agent_pb2 import HostInventory

__all__ = ["AgentConfig", "run_agent"]

log = logging.getLogger(__name__)


async def run_agent(
    config: AgentConfig,
    handlers: Iterable[Handler[Any, Any]],
    inventory: Callable[[], Awaitable[HostInventory]],
    hypervisor_error: Callable[[], str],
    changes: asyncio.Queue[HostInventory] | None = None,
) -> None:
    """Run until SIGTERM or SIGINT.

    Tasks that run then stay begun; their probe settles them at the next start. The host's part puts what has just
    changed into changes, from the event loop's thread. Raises EnrollError or JournalError when it cannot start.
    """
    loop = asyncio.get_running_loop()
    life = asyncio.create_task(_live(config, handlers, inventory, hypervisor_error, changes))
    stops = (signal.SIGTERM, signal.SIGINT)
    for stop in stops:
        loop.add_signal_handler(stop, life.cancel)
    try:
        await life
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        log.info("host %s: stopped", config.host_uuid)
    finally:
        for stop in stops:
            loop.remove_signal_handler(stop)


async def _live(
    config: AgentConfig,
    handlers: Iterable[Handler[Any, Any]],
    inventory: Callable[[], Awaitable[HostInventory]],
    hypervisor_error: Callable[[], str],
    changes: asyncio.Queue[HostInventory] | None,
) -> None:
    directory = made(Path(config.directory))
    # First of all: it is what keeps a second agent of this host away.
    journal = Journal(directory / "journal.db")
    try:
        identity = await _enrolled(config, directory)
        outbox = Outbox()
        dispatcher = Dispatcher(journal, handlers, outbox.put)
        try:
            async with aclosing(Doors(config.agent_endpoint, identity, directory / "doors")) as doors:
                session = Session(
                    config.host_uuid,
                    doors,
                    dispatcher,
                    outbox,
                    inventory,
                    hypervisor_error,
                    changes=changes,
                    renewal=Renewal(directory, identity, doors.show),
                )
                await session.run()
        finally:
            await dispatcher.close()
    finally:
        journal.close()


async def _enrolled(config: AgentConfig, directory: Path) -> Identity:
    """The certificate, by enrolment if this is the first start; waits for a node that is not there yet."""
    attempt = 0
    while True:
        try:
            identity = await enroll(
                directory, config.enroll_endpoint, config.token, config.ca_fingerprint, config.host_uuid
            )
        except NodeUnreachable as error:
            delay = backoff(attempt)
            log.warning("host %s: not enrolled (%s); next try in %.1f s", config.host_uuid, error, delay)
            await asyncio.sleep(delay)
            attempt += 1
            continue
        if config.token:
            config.forget_token()
        if datetime.now(UTC) >= end(identity):
            text = "host %s: the certificate in %s has ended on %s: let the node make a new one by ReconnectHost"
            log.error(text, config.host_uuid, directory, end(identity))
        return identity
