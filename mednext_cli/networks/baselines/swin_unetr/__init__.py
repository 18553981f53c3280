"""Swin UNETR: attention in shifted windows as encoder, convolutions as decoder."""
