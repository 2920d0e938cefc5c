"""The machine's own addresses, as its kernel tells them (BS-28)."""

from __future__ import annotations

import subprocess

from agents.storage.addresses import _of_inet6, _of_trie, addresses

TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
Local:
  +-- 0.0.0.0/0 3 0 5
     +-- 10.1.0.0/24 2 0 2
        |-- 10.1.0.0
           /24 link UNICAST
        |-- 10.1.0.5
           /32 host LOCAL
        |-- 10.1.0.255
           /32 link BROADCAST
     |-- 9.0.0.1
        /32 host LOCAL
"""


def test_those_of_the_machine_and_no_others() -> None:
    assert _of_trie(TRIE.splitlines()) == ["9.0.0.1", "10.1.0.5"]
    lines = ["fd000000000000000000000000000005 02 40 00 80 eth0", "fe80000000000000000000000000abcd 02 40 20 80 eth0"]
    assert _of_inet6(lines) == ["fd00::5"]
    said = subprocess.run(["ip", "-o", "-4", "address"], capture_output=True, text=True, check=True).stdout
    told = {line.split()[3].partition("/")[0] for line in said.splitlines()}
    assert {address for address in addresses() if "." in address} == told
