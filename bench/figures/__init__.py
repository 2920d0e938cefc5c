"""The measurements, one subject a module."""
