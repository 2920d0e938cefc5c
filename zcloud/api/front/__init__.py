"""Processes that speak gRPC for a node: what a call costs in the transport is not the deciding process's to pay."""
