"""Several nodes on one real PostgreSQL, as processes that are killed and paused."""
