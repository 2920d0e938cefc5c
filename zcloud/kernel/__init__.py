"""The kernel: the log, aggregates, decisions, jobs. It knows no resource kind, no transport and no host."""
