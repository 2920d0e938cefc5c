"""The door: RPCs from the descriptors, through one pipeline, to decisions and queries."""
