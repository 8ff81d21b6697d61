"""Benchmarks: one file a question. ``python -m bench`` lists them; never run by the tests."""
