"""Trained models that come with mednext: a folder each, with its card and its weights."""
