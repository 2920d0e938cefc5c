"""The control plane of private clouds: an event-sourced backend with gRPC."""
