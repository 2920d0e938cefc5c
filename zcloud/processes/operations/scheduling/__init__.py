"""Schedulers at work: what is due is opened, carried out, tried again, and written down."""
