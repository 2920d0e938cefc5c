"""What the cloud's resources are and may do: pure Python, no transport, no store, no host."""
