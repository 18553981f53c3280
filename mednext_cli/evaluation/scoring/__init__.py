"""One case: which files belong together, what their labels mean, all scores of its regions."""
