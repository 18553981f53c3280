"""What is fastest on this very machine: timing, and what is built on it."""
