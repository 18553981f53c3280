"""Averages of probabilities that were saved: no networks, one class in memory at a time."""
