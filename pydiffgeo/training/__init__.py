"""Training of parameter networks through process models, and the experiments built on it."""
