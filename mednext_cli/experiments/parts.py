"""Which runs belong to which part, where machines share an experiment without seeing each other."""

from collections.abc import Mapping, Sequence

from mednext_cli.experiments.layout import RunKey
from mednext_cli.foundation.parts import Part


def group_runs(
    keys: Sequence[RunKey], chains: Mapping[str, tuple[str, ...]]
) -> list[tuple[RunKey, ...]]:
    """Runs that cannot be parted: of one seed and fold, of arms that start from the same one.

    Args:
        keys: of the runs, in order.
        chains: of every arm: itself, the one it starts from, and so on.
    """
    groups: dict[tuple[int, int, str], list[RunKey]] = {}
    for key in keys:
        groups.setdefault((key.seed, key.fold, chains[key.arm][-1]), []).append(key)
    return [tuple(group) for group in groups.values()]


def choose_part(
    groups: Sequence[tuple[RunKey, ...]], work: Mapping[RunKey, float], part: Part
) -> list[RunKey]:
    """The runs of one part; every process finds the same parts, whatever is done already.

    The largest group goes first, each to the part that has the least work so far.

    Args:
        groups: of `group_runs`.
        work: of every run, in any unit.
        part: which.
    """
    loads = [0.0] * part.total
    chosen: list[RunKey] = []
    sizes = [sum(work[key] for key in group) for group in groups]
    for index in sorted(range(len(groups)), key=lambda index: -sizes[index]):
        least = loads.index(min(loads))
        loads[least] += sizes[index]
        if least == part.index:
            chosen += groups[index]
    return chosen
