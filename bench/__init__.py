"""Measurements of zcloud, each against a limit of the same kind that is measured in the same run, in turns."""
