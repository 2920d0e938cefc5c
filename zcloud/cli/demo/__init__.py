"""make run: a whole cloud on this machine, set up through the public API only."""
