"""Training a model on recorded runs."""
