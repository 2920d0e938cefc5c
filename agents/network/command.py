"""Programs of the host that set up networks: argv lists only, and errors that say what went wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.runtime.children import ended
from agents.runtime.task import TaskError

# They all act at once; one that does not is stuck in the kernel.
TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.02
END_SECONDS = 5.0
DEVICES = Path("/sys/class/net")


async def run(*argv: str, check: bool = True) -> str:
    """Standard output of a program; FAILED with its own words when it fails and check is set."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise TaskError("FAILED", f"{argv[0]} is not installed on this host") from None
    try:
        output, errors = await asyncio.wait_for(process.communicate(), TIMEOUT_SECONDS)
    except asyncio.CancelledError:
        await ended(process, 0)  # whoever comes next must not meet it at work
        raise
    except TimeoutError:
        await ended(process, 0)
        raise TaskError("TIMEOUT", f"{' '.join(argv)} did not end in {TIMEOUT_SECONDS:.0f} s") from None
    if check and process.returncode:
        words = errors.decode(errors="replace").strip() or f"exit status {process.returncode}"
        raise TaskError("FAILED", f"{' '.join(argv)}: {words}")
    return output.decode(errors="replace")


async def link(name: str, namespace: str = "") -> dict[str, Any] | None:
    """What the kernel says of an interface, with its addresses; None when there is none of that name."""
    inside = ["-netns", namespace] if namespace else []
    found = await run("ip", *inside, "-details", "-json", "address", "show", "dev", name, check=False)
    # An absent device is an error of ip, and an empty object stands for filtered ones.
    links = [entry for entry in json.loads(found or "[]") if entry.get("ifname") == name]
    return links[0] if links else None


async def delete_link(name: str) -> None:
    """Take an interface away; well when there is none of that name."""
    place = DEVICES / name
    if not place.exists():
        return
    try:
        await run("ip", "link", "delete", "dev", name)
    except TaskError:
        # The kernel takes a cable away with the namespace that one end was in, some time after that was deleted.
        if not await becomes(lambda: not place.exists()):
            raise


async def becomes(done: Callable[[], bool]) -> bool:
    """Whether it comes true within a few seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + END_SECONDS
    while not done():
        if loop.time() > end:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def kind(entry: dict[str, Any]) -> str:
    """bridge, veth, tun …; empty for hardware."""
    return str(entry.get("linkinfo", {}).get("info_kind", ""))
