"""Tests of VMs over a socket, with simulated hosts."""
