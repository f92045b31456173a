"""Mathematical questions: GSM8K, MATH-500, a user's own, and generated ones."""

from __future__ import annotations

from thread_envs.math.adapter import Math

__all__ = ["Math"]
