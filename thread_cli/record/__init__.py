"""The record of a run on disk: a folder with `run.toml`, the prompt, and one file of events per episode."""

from __future__ import annotations

from thread_cli.record.compare import Difference, first_difference
from thread_cli.record.folder import EpisodeLog, RunFolder, read_events

__all__ = ["Difference", "EpisodeLog", "RunFolder", "first_difference", "read_events"]
