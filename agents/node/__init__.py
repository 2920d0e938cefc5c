"""Work that the management node does itself, over SSH: backup storages and the deployment of agents."""
