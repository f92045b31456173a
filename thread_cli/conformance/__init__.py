"""Conformance suites for environments, interpreters and models, ours and those of others."""
