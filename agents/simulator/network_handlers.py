"""Bridges and DHCP servers of a simulated host, which has every physical device that it is asked for."""

from __future__ import annotations

from agents.runtime.task import TaskError
from agents.simulator.simulated import Simulated
from agents.simulator.world import DhcpServer
from zcloud.v1.network_task_pb2 import (
    ApplyDhcpResult,
    ApplyDhcpTask,
    ApplyL2NetworkResult,
    ApplyL2NetworkTask,
    DhcpEntry,
    ReleaseDhcpResult,
    ReleaseDhcpTask,
    RemoveDhcpResult,
    RemoveDhcpTask,
    RemoveL2NetworkResult,
    RemoveL2NetworkTask,
)


class ApplyL2Network(
    Simulated[ApplyL2NetworkTask, ApplyL2NetworkResult], task=ApplyL2NetworkTask, result=ApplyL2NetworkResult
):
    def apply(self, args: ApplyL2NetworkTask) -> ApplyL2NetworkResult:
        bridges = self.world.bridges
        for bridge, device in bridges.items():
            if device == args.physical_interface and bridge != args.bridge:
                raise TaskError("INVALID", f"device {device} is a port of bridge {bridge} already")
        if bridges.setdefault(args.bridge, args.physical_interface) != args.physical_interface:
            raise TaskError("INVALID", f"bridge {args.bridge} has {bridges[args.bridge]} as its port already")
        return ApplyL2NetworkResult()


class RemoveL2Network(
    Simulated[RemoveL2NetworkTask, RemoveL2NetworkResult], task=RemoveL2NetworkTask, result=RemoveL2NetworkResult
):
    def apply(self, args: RemoveL2NetworkTask) -> RemoveL2NetworkResult:
        users = self.world.users_of_bridge(args.bridge)
        if users:
            raise TaskError("REFUSED", f"bridge {args.bridge} is in use by VM {users[0]}")
        self.world.bridges.pop(args.bridge, None)
        return RemoveL2NetworkResult()


class ApplyDhcp(Simulated[ApplyDhcpTask, ApplyDhcpResult], task=ApplyDhcpTask, result=ApplyDhcpResult):
    def apply(self, args: ApplyDhcpTask) -> ApplyDhcpResult:
        if args.bridge not in self.world.bridges:
            raise TaskError("NOT_FOUND", f"there is no bridge {args.bridge} for L3 network {args.l3_network_uuid}")
        server = self.world.dhcp.setdefault(args.l3_network_uuid, DhcpServer(args.bridge))
        server.bridge = args.bridge
        for entry in args.entries:
            server.entries[entry.mac] = DhcpEntry.FromString(entry.SerializeToString())
        return ApplyDhcpResult()


class ReleaseDhcp(Simulated[ReleaseDhcpTask, ReleaseDhcpResult], task=ReleaseDhcpTask, result=ReleaseDhcpResult):
    def apply(self, args: ReleaseDhcpTask) -> ReleaseDhcpResult:
        server = self.world.dhcp.get(args.l3_network_uuid)
        if server is not None:
            for mac in args.macs:
                server.entries.pop(mac, None)
        return ReleaseDhcpResult()


class RemoveDhcp(Simulated[RemoveDhcpTask, RemoveDhcpResult], task=RemoveDhcpTask, result=RemoveDhcpResult):
    def apply(self, args: RemoveDhcpTask) -> RemoveDhcpResult:
        self.world.dhcp.pop(args.l3_network_uuid, None)
        return RemoveDhcpResult()


HANDLERS = (ApplyL2Network, RemoveL2Network, ApplyDhcp, ReleaseDhcp, RemoveDhcp)
