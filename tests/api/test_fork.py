"""What a node or an agent starts begins in a fork of it: nothing of gRPC may come to life in there."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import grpc

import zcloud.api.server


def test_grpc_does_not_begin_anew_in_a_fork() -> None:
    """Its threads, begun before the program that the fork is for, crashed now and then: one thread is all there is."""
    assert zcloud.api.server  # importing anything of ours sees to it
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=(("grpc.enable_http_proxy", 0),)) as channel:
        grpc.channel_ready_future(channel).result(timeout=60)
        child = os.fork()
        if child == 0:
            os._exit(len(os.listdir("/proc/self/task")))
        _, status = os.waitpid(child, 0)
    server.stop(None)
    assert os.waitstatus_to_exitcode(status) == 1
