"""The command line: a client built from the API's descriptors."""
