"""Plays an episode: the executor asks a model for text, carries out its moves and keeps its limits."""
