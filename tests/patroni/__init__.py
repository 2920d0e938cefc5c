"""Nodes on two PostgreSQL servers that Patroni sees to: `make patroni`, not `make test`."""
