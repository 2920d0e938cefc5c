"""Tests of networks over a socket, with simulated hosts."""
