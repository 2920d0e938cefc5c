"""Tests of agents/storage."""
