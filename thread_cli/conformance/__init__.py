"""Suites that any environment, interpreter or model can be put to, ours or anybody's."""
