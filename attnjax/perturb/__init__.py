"""Perturbations that training adds to word vectors or attention scores."""
