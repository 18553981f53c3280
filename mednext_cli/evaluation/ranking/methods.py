"""The scores of several methods on the same cases: what a leaderboard compares."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mednext_cli.evaluation.tables.bootstrap import Values, mean_where_defined
from mednext_cli.evaluation.tables.read_cases import CasesTable, index_by_case, read_cases
from mednext_cli.foundation.columns import LARGER, Column
from mednext_cli.foundation.errors import DatasetError

_BEYOND_MM = 1.0  # a distance that is worse than any measured one
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Methods side by side.

    Attributes:
        methods: their names.
        cases: the cases that count, the same for all.
        regions: the regions that all have.
        metrics: what is compared.
        values: (cases, regions, metrics, methods); nan where undefined. A distance that is
            infinite, since one mask is empty, stands 1 mm beyond the largest finite one of any
            method.
        undefined: the same shape: whether the method's own value is undefined or infinite.
        as_worst: cases by method that had no scores and were given the worst.
    """

    methods: tuple[str, ...]
    cases: tuple[str, ...]
    regions: tuple[str, ...]
    metrics: tuple[Column, ...]
    values: Values
    undefined: NDArray[np.bool_]
    as_worst: Mapping[str, int]

    def of_regions(self, metric: int, region: int | None) -> Values:
        """(cases, regions, methods) of one metric; one region, or all where it is None."""
        chosen = slice(None) if region is None else slice(region, region + 1)
        return self.values[:, chosen, metric]

    def per_case(self, metric: int, region: int | None) -> Values:
        """(cases, methods) of one metric: of a region, or each case's mean over the regions."""
        return mean_where_defined(self.of_regions(metric, region), axis=1)


def read_methods(
    tables: Mapping[str, Path], metrics: Sequence[Column], *, drop_missing: bool
) -> Comparison:
    """Read every method's cases.csv and bring them to the same cases and regions.

    Args:
        tables: cases.csv by name of the method.
        metrics: what to compare.
        drop_missing: leave a case out for all where one method lacks it; else it is the worst
            for that method.

    Raises:
        DatasetError: a file cannot be used, the methods share no region or no case, or they were
            scored by different rules.
    """
    names = [column.name for column in metrics]
    read = {name: read_cases(path, names) for name, path in tables.items()}
    regions = _shared_regions(read)
    _check_rules(read, regions)
    lacking = {name: _lacking(read, name, regions) for name in read}
    cases = _cases(read, lacking, drop_missing=drop_missing)
    rows = index_by_case(product(cases, regions))
    joined = np.stack([table.scores.reindex(rows).to_numpy() for table in read.values()], axis=-1)
    absent = np.array([[case in lacking[name] for name in read] for case in cases])
    values = joined.reshape(len(cases), len(regions), len(metrics), len(read))
    values = np.where(absent[:, None, None], np.nan, values)  # whatever regions such a case has
    undefined = ~np.isfinite(values) & ~absent[:, None, None, :]
    if undefined.any():
        logger.info("%d scores are undefined or infinite", int(undefined.sum()))
    for k, column in enumerate(metrics):
        _fill_worst(values[:, :, k], absent, column)
    return Comparison(
        methods=tuple(read),
        cases=cases,
        regions=regions,
        metrics=tuple(metrics),
        values=values,
        undefined=undefined,
        as_worst={name: 0 if drop_missing else len(lacking[name]) for name in read},
    )


def _shared_regions(read: Mapping[str, CasesTable]) -> tuple[str, ...]:
    first = next(iter(read.values())).regions
    shared = tuple(name for name in first if all(name in table.regions for table in read.values()))
    if not shared:
        lists = "; ".join(f"{name} has {', '.join(table.regions)}" for name, table in read.items())
        raise DatasetError(
            f"the methods share no region: {lists}", "Evaluate all with the same --dataset."
        )
    everything = dict.fromkeys(region for table in read.values() for region in table.regions)
    if left_out := [region for region in everything if region not in shared]:
        logger.warning("left out, since not all methods have them: %s", ", ".join(left_out))
    return shared


def _check_rules(read: Mapping[str, CasesTable], regions: Sequence[str]) -> None:
    """Raise `DatasetError` where two methods' scores do not mean the same."""
    for first, second in combinations(read, 2):
        these, other = read[first].rules, read[second].rules
        for key in sorted(these.keys() & other.keys()):
            column, region = key
            if region in regions and these[key] != other[key]:
                said = [" and ".join(found or "nothing" for found in sorted(rules[key]))
                        for rules in (these, other)]  # fmt: skip
                raise DatasetError(
                    f"scores that cannot be compared: {column} of {region} is {said[0]} for "
                    f"{first} and {said[1]} for {second}",
                    "Evaluate all with the same options.",
                )


def _lacking(
    read: Mapping[str, CasesTable], method: str, regions: Sequence[str]
) -> dict[str, None]:
    """Cases of any method of which this one lacks a region, in order."""
    known = set(read[method].scores.index)
    everything = dict.fromkeys(case for table in read.values() for case in table.cases)
    return {case: None for case in everything if not known.issuperset(product([case], regions))}


def _cases(
    read: Mapping[str, CasesTable],
    lacking: Mapping[str, Mapping[str, None]],
    *,
    drop_missing: bool,
) -> tuple[str, ...]:
    fate = "left out for all" if drop_missing else "scored as the worst"
    for name, cases in lacking.items():
        if cases:
            logger.warning("%s lacks %s: %s", name, ", ".join(cases), fate)
    everything = {case for table in read.values() for case in table.cases}
    dropped = {case for cases in lacking.values() for case in cases} if drop_missing else set()
    if not everything - dropped:
        raise DatasetError(
            f"the methods {', '.join(read)} share no case",
            "Evaluate all on the same cases, or score what is missing with --missing worst.",
        )
    return tuple(sorted(everything - dropped))


def _fill_worst(values: Values, absent: NDArray[np.bool_], column: Column) -> None:
    """Give absent cases and infinite distances the worst number, in place.

    Leaving them out of a mean would reward the method that failed. The worst share is 0; the worst
    distance lies 1 mm beyond the largest finite one that any method has in that region: a tie with
    that one would make a failure as good as a success where all others agree.

    Args:
        values: (cases, regions, methods) of one metric.
        absent: (cases, methods).
        column: the metric.
    """
    for region in range(values.shape[1]):
        inner = values[:, region]
        finite = inner[np.isfinite(inner)]
        farthest = float(finite.max()) + _BEYOND_MM if len(finite) else np.nan
        worst = 0.0 if column.better == LARGER else farthest
        inner[absent | np.isinf(inner)] = worst
