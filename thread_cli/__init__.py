"""Run agents that think by recursive spawning (THREAD, arXiv 2405.17402)."""
