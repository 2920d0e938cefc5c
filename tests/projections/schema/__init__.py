"""Tests of read models and of the queries on them."""
