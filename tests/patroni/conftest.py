"""Nodes are forked, and agents do not wait for long, as in the tests of nodes that die."""

from tests.faults.cluster.conftest import _impatient

__all__ = ["_impatient"]
