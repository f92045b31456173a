"""Countdown as APR plays it (arXiv 2504.15466): reach a target by arithmetic with four given numbers."""

from thread_envs.countdown.adapter import Countdown

__all__ = ["Countdown"]
