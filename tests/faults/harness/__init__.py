"""A cloud in one process without network, disk or waiting: the node's and the agents' real code over a fake world."""
