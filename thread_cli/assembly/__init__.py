"""How an episode is put together: configuration, the models and environments that names stand for, one way to play."""
