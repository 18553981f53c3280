"""UNETR: a vision transformer as encoder, convolutions as decoder; arXiv 2103.10504."""
