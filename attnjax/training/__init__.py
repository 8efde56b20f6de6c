"""Optimisation: one step, how it meets devices, and the loop around it."""
