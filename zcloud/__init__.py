"""The control plane of private clouds: an event-sourced backend with gRPC."""

import os

# Nothing here forks to go on as it is: what is started runs a program of its own. gRPC would stop its threads before
# each fork and start them anew in the child, which crashes now and then before that program begins.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
