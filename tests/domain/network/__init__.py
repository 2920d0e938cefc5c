"""Tests of networks, addresses and offerings: given, when, then."""
