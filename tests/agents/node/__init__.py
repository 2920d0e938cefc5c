"""Tests of agents/node."""
