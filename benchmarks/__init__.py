"""Suites of `thread bench`."""
