"""Watchers that come with this package; those of other distributions are found by the same entry points."""
