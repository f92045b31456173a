"""The watchers of this package. Other distributions offer theirs by the same entry points."""
