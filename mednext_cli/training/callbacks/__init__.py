"""Who else is told how a run goes: entry points of the group `mednext.callbacks`."""
