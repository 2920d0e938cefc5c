"""The shape of read models, derived from message descriptors."""
