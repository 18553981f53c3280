"""Fingerprint, plan, a plan applied to a case, a whole dataset."""
