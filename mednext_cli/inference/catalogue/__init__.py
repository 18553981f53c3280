"""Trained models by name: bundled, brought by packages, and the user's own."""
