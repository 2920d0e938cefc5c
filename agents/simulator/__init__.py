"""Hosts that exist only in memory, behind the agents' real protocol."""
