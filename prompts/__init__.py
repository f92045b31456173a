"""Few-shot prompts of `thread`, one folder per environment."""
