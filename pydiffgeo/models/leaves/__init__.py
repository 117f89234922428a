"""Leaves: photosynthesis, stomata and the energy balance of a leaf."""
