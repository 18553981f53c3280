"""One scan: read, write, orientation, spacing, crop, resample, normalise."""
