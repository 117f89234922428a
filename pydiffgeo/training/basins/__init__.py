"""Training on basins: parameters of process models learned by networks, and what they are compared with."""
