"""Arms, seeds and folds of an experiment: planned, trained, compared."""
