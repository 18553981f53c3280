"""Tiling, engines, ensembles, back to the scan's own grid."""
