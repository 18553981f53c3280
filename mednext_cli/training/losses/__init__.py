"""Terms that a loss is the weighted sum of: entry points of the group `mednext.losses`."""
