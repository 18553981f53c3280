"""Methods side by side: ranks, tests, ties, and how stable a ranking is."""
