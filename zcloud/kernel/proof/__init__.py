"""Proof that the log is as it was: every record's hash covers the one before it, and checkpoints of that are signed."""
