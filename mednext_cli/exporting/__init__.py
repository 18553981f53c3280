"""Trained networks in other programs' formats, checked before they are kept."""
