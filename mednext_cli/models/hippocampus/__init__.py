"""Anterior and posterior hippocampus on MR; card.toml says the rest."""
