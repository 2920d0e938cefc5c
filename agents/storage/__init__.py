"""Storage on hosts and on backup storages."""
