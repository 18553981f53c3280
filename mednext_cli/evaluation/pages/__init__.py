"""The reports: HTML in one file, their plots, and slices of the worst cases."""
