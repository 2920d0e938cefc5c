"""Hosts get their agent over SSH: installed, started, watched for a moment; and removed again (HST-01, HST-04)."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from typing import Any

from agents.node import packing
from agents.runtime.task import Handler, TaskError, Work
from agents.storage.remote_helper import call_helper, check_python, put_file, put_helper
from agents.storage.ssh import SshSession, open_ssh
from zcloud.v1.host_task_pb2 import (
    DeployKvmAgentResult,
    DeployKvmAgentTask,
    RemoveKvmAgentResult,
    RemoveKvmAgentTask,
)

AGENT_BASE = "/var/lib/zcloud-agent"
HOST_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,127}")


class _AgentHost:
    """One host's directory and the installer in it."""

    def __init__(self, session: SshSession, directory: str) -> None:
        self._session, self.directory = session, directory
        self._program = ""

    async def call(self, operation: str, request: dict[str, Any], work: Work | None) -> Any:
        if not self._program:
            await check_python(self._session)
            packed = await asyncio.to_thread(packing.setup_program)
            self._program = await put_helper(self._session, "host_setup.pyz", packed, self.directory)
        request = {**request, "operation": operation, "directory": self.directory}
        return await call_helper(self._session, self._program, request, work)

    async def put(self, name: str, content: bytes) -> None:
        async with self._session.connection.start_sftp_client() as sftp:
            await put_file(sftp, content, f"{self.directory}/{name}")


def _directory(base: str, host_uuid: str) -> str:
    if not HOST_NAME.fullmatch(host_uuid):
        raise TaskError("INVALID", f"host uuid {host_uuid!r} is no name for a directory")
    return f"{base}/{host_uuid}"


def _config(args: DeployKvmAgentTask) -> dict[str, Any]:
    for field in ("agent_endpoint", "enroll_endpoint"):
        if not getattr(args, field):
            raise TaskError("INVALID", f"{field} is empty: the agent of host {args.host_uuid} would not find the node")
    return {
        "host_uuid": args.host_uuid,
        "agent_endpoint": args.agent_endpoint,
        "enroll_endpoint": args.enroll_endpoint,
        "token": args.token,
        "ca_fingerprint": args.ca_fingerprint,
        "extra": {"libvirt_uri": args.libvirt_uri or "qemu:///system"},
    }


class DeployKvmAgent(
    Handler[DeployKvmAgentTask, DeployKvmAgentResult], task=DeployKvmAgentTask, result=DeployKvmAgentResult
):
    def __init__(self, base: str = AGENT_BASE, watched: float = 0.0) -> None:
        """watched: seconds for which it is seen whether a new agent ends at once; 0: the installer's own."""
        self._base, self._watched = base, watched

    async def run(self, args: DeployKvmAgentTask, work: Work) -> DeployKvmAgentResult:
        directory, config = _directory(self._base, args.host_uuid), _config(args)
        archive = await asyncio.to_thread(packing.agent_archive)
        code = f"agent-{hashlib.sha256(archive).hexdigest()[:16]}"
        work.progress(1, f"connecting to {args.target.hostname}")
        async with open_ssh(args.target) as session:
            host = _AgentHost(session, directory)
            have = await host.call("check", {"code": code}, work)
            if not have["code"]:
                work.check()
                work.progress(10, "sending the agent")
                await host.put(f"{code}.tar.gz", archive)
            work.progress(20, "installing the agent")
            request = {
                "code": code,
                "config": config,
                "python": sys.executable,
                "modules": packing.MODULES,
                "requirements": packing.requirements(),
                "watched": self._watched,
            }
            await host.call("deploy", request, work)
            work.progress(100, "the agent runs")
            return DeployKvmAgentResult(host_key=session.host_key)

    async def probe(self, args: DeployKvmAgentTask) -> DeployKvmAgentResult | None:
        directory, config = _directory(self._base, args.host_uuid), _config(args)
        async with open_ssh(args.target) as session:
            there = await _AgentHost(session, directory).call("status", {"config": config}, None)
            return DeployKvmAgentResult(host_key=session.host_key) if there["running"] else None


class RemoveKvmAgent(
    Handler[RemoveKvmAgentTask, RemoveKvmAgentResult], task=RemoveKvmAgentTask, result=RemoveKvmAgentResult
):
    """Has no probe: removing what is gone already is the same work."""

    def __init__(self, base: str = AGENT_BASE) -> None:
        self._base = base

    async def run(self, args: RemoveKvmAgentTask, work: Work) -> RemoveKvmAgentResult:
        directory = _directory(self._base, args.host_uuid)
        async with open_ssh(args.target) as session:
            await _AgentHost(session, directory).call("remove", {}, work)
        return RemoveKvmAgentResult()
