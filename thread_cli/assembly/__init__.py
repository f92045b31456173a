"""Puts an episode together: resolves the configuration, opens the model and the environment by name, and plays."""
