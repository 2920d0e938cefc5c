"""Machines under QEMU, with a kernel that has all that this one lacks: `make nested`, not `make test`."""
