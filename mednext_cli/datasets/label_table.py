"""Channels and labels as a dataset.json spells them, turned into a `LabelSet`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mednext_cli.datasets.names import problem_of_name, shortened
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.settings.labels import LabelSet, region_name

_LARGEST = 65535  # of a label map
_LONGEST = 100  # letters of a label's name
_MOST_DIGITS = 9


def channel_names(table: object, where: Path) -> tuple[str, ...]:
    """Channel names in order of their number, e.g. from ``{"0": "T2", "1": "ADC"}``.

    "CT" decides the normalisation, so any spelling of it becomes "CT".

    Raises:
        DatasetError: not an object or list of texts, or the numbers are not 0, 1, 2, ...
    """
    if isinstance(table, list):
        table = {str(index): name for index, name in enumerate(table)}
    if not isinstance(table, dict) or not table:
        raise DatasetError(f"{where}: the channels are not an object", 'Write {"0": "CT"}, say.')
    by_number = {int(key): name for key, name in table.items() if _is_number(key)}
    if sorted(by_number) != list(range(len(table))):
        keys = [key if _is_number(key) else shortened(key) for key in table]
        few = ", ".join(keys[:10]) + (", ..." if len(keys) > 10 else "")
        raise DatasetError(
            f"{where}: channels are numbered {few}", f"Number them 0 to {len(table) - 1}."
        )
    return tuple(_channel_name(by_number[number], where) for number in sorted(by_number))


def _channel_name(name: object, where: Path) -> str:
    if not isinstance(name, str) or problem_of_name(name):
        raise DatasetError(
            f"{where}: {shortened(name)} cannot name a channel", 'Write {"0": "CT"}, say.'
        )
    return "CT" if name.strip().casefold() == "ct" else name.strip()


def _is_number(text: object) -> bool:
    """Whether a text is a number as people write labels and channels, not one of 5,000 digits."""
    return isinstance(text, str) and text.strip().isdecimal() and len(text) <= _MOST_DIGITS


def labels_of(
    table: Mapping[str, Any], order: object, where: Path, tolerance_mm: float | None = None
) -> LabelSet:
    """Labels spelled either way: number to name, or name to number.

    Args:
        table: as `numbered_labels` or `named_labels` take it.
        order: see `named_labels`.
        where: the dataset.json, for messages.
        tolerance_mm: see `numbered_labels`.

    Raises:
        DatasetError: see both.
    """
    if is_numbered(table):
        return numbered_labels(table, where, tolerance_mm)
    return named_labels(table, order, where)


def is_numbered(table: Mapping[str, Any]) -> bool:
    """Whether labels are spelled number to name: by the keys, or by names that are no numbers.

    Names may look like numbers, and numbers may be quoted: ``{"background": "0", "organ": "1"}``.
    """
    if table and all(map(_is_number, table)):
        return True
    names = list(table.values())
    return all(isinstance(name, str) and not _is_number(name) for name in names) and bool(names)


def numbered_labels(
    table: Mapping[str, Any], where: Path, tolerance_mm: float | None = None
) -> LabelSet:
    """Labels spelled number to name, as MSD and nnU-Net v1 do; keys may be zero-padded.

    Args:
        table: for example ``{"0": "background", "01": "Anterior"}``.
        where: the dataset.json, for messages.
        tolerance_mm: surface Dice tolerance of every region, mm, where the dataset has one.

    Raises:
        DatasetError: a key is no whole number, a name is no text, or two agree.
    """
    pairs = []
    for number, name in table.items():
        if not _is_label(number) or not isinstance(name, str):
            raise DatasetError(
                f"{where}: label {shortened(number)}: {shortened(name)} is not a number with a "
                "name",
                'Write the labels as {"0": "background", "1": "liver"}.',
            )
        pairs.append((name, int(number)))
    names = _unique_names(sorted(pairs, key=lambda pair: pair[1]), where)
    tolerances = {} if tolerance_mm is None else dict.fromkeys(names, tolerance_mm)
    regions = {name: (value,) for name, value in names.items()}
    return LabelSet(names=names, regions=regions, tolerance_mm=tolerances)


def named_labels(table: Mapping[str, Any], order: object, where: Path) -> LabelSet:
    """Labels spelled name to number or numbers, as nnU-Net v2 does.

    An entry with several numbers is a region; where there is one, networks predict the regions.

    Args:
        table: for example ``{"background": 0, "whole tumour": [1, 2], "core": 2, "ignore": 3}``.
        order: ``regions_class_order`` of the dataset.json, None where it has none.
        where: the dataset.json, for messages.

    Raises:
        DatasetError: values are no whole numbers, names or numbers agree, or the order is missing
            or does not fit.
    """
    inner, ignore = _values_by_name(table, where)
    if all(len(numbers) == 1 for numbers in inner.values()):
        by_value = sorted(((name, numbers[0]) for name, numbers in inner.items()), key=_second)
        names = _unique_names(by_value, where)
        return LabelSet(names, {name: (value,) for name, value in names.items()}, ignore)
    regions = dict(_spelled(inner.items(), where))
    return LabelSet(
        names=_names_behind(regions),
        regions=regions,
        ignore=ignore,
        region_training=True,
        region_values=_region_values(order, regions, where),
        summary_keys={region_name(name): _summary_key(table[name]) for name in inner},
    )


def _summary_key(value: object) -> str:
    """How nnU-Net's summary.json calls a region: as it is written, lists as tuples."""
    return str(tuple(value)) if isinstance(value, list) else str(value)


def scored_labels(table: Mapping[str, Any], where: Path | str) -> LabelSet:
    """Labels and regions spelled name to number or numbers, of which networks predict the labels.

    Args:
        table: for example ``{"liver": 1, "liver and tumour": [1, 2]}``; "ignore" as in nnU-Net.
        where: what holds it, for messages.

    Raises:
        DatasetError: values are no whole numbers, or names or numbers agree.
    """
    inner, ignore = _values_by_name(table, where)
    regions = dict(_spelled(inner.items(), where))
    if len(set(regions.values())) < len(regions):
        raise DatasetError(f"{where}: two names have the same value: {regions}", "Correct one.")
    return LabelSet(_names_behind(regions), regions, ignore)


def _second(pair: tuple[str, int]) -> int:
    return pair[1]


def _values_by_name(
    table: Mapping[str, Any], where: Path | str
) -> tuple[dict[str, tuple[int, ...]], int | None]:
    """Label values by name, without background, and the ignore value."""
    values = {name: _label_values(name, value, where) for name, value in table.items()}
    ignored = values.pop("ignore", None)
    if ignored is not None and len(ignored) != 1:
        raise DatasetError(f"{where}: 'ignore' has several values", "Give it one.")
    inner = {name: numbers for name, numbers in values.items() if numbers != (0,)}
    ignore = ignored[0] if ignored else None
    _check_reserved(inner, ignore, where)
    return inner, ignore


def _label_values(name: str, value: Any, where: Path | str) -> tuple[int, ...]:  # noqa: ANN401
    numbers = [
        int(number) if _is_label(number) else -1
        for number in (value if isinstance(value, list) else [value])
    ]
    if -1 in numbers:
        raise DatasetError(
            f"{where}: label {shortened(name)} has the value {shortened(value)}",
            f"Labels are whole numbers from 0 to {_LARGEST}, regions lists of them.",
        )
    if not numbers:
        raise DatasetError(f"{where}: region {shortened(name)} is empty", "Name its label values.")
    return tuple(sorted(set(numbers)))


def _is_label(value: Any) -> bool:  # noqa: ANN401 - JSON holds anything
    """Whether a value is a label: a whole number that a label map can hold, quoted or not."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    if isinstance(value, str) and not _is_number(value):
        return False
    number = int(value) if isinstance(value, str) else value
    return 0 <= number <= _LARGEST and number == int(number)


def _check_reserved(
    inner: Mapping[str, tuple[int, ...]], ignore: int | None, where: Path | str
) -> None:
    if not inner:
        raise DatasetError(f"{where} names no label but background", "Add the labels.")
    for name, numbers in inner.items():
        if 0 in numbers:
            raise DatasetError(
                f"{where}: region {shortened(name)} holds background (0)", "Take it out."
            )
        if ignore in numbers or ignore == 0:
            raise DatasetError(
                f"{where}: the ignore value {ignore} is also in use for a label", "Give it its own."
            )


def _spelled(
    items: Iterable[tuple[str, tuple[int, ...]]], where: Path | str
) -> list[tuple[str, tuple[int, ...]]]:
    """Names as CSVs spell them; two that fall together are an error."""
    spelled: dict[str, str] = {}
    pairs = []
    for name, numbers in items:
        short = region_name(name)
        if not short or short in spelled or len(short) > _LONGEST:
            other = f" like {shortened(spelled[short])}" if short in spelled else ""
            raise DatasetError(
                f"{where}: label name {shortened(name)} reads {shortened(short)}{other}",
                "Give every label a name of its own, in letters and digits.",
            )
        spelled[short] = name
        pairs.append((short, numbers))
    return pairs


def _unique_names(pairs: Iterable[tuple[str, int]], where: Path) -> dict[str, int]:
    """Label value by spelled name, without background."""
    inner = [(name, (value,)) for name, value in pairs if value != 0]
    if not inner:
        raise DatasetError(f"{where} names no label but background", "Add the labels.")
    names = {name: numbers[0] for name, numbers in _spelled(inner, where)}
    if len(set(names.values())) < len(names):
        raise DatasetError(
            f"{where}: two labels have the same value: {shortened(names)}", "Correct one."
        )
    return names


def _names_behind(regions: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """A name for every label value the regions consist of: a region's own where it is alone."""
    alone = {numbers[0]: name for name, numbers in regions.items() if len(numbers) == 1}
    values = sorted({value for numbers in regions.values() for value in numbers})
    return {alone.get(value, f"label_{value}"): value for value in values}


def _region_values(
    order: object, regions: Mapping[str, tuple[int, ...]], where: Path
) -> tuple[int, ...]:
    if not isinstance(order, list):
        raise DatasetError(
            f"{where} has regions but no list 'regions_class_order'",
            "Add it: the label value each region is written as, in the order of the regions.",
        )
    known = {value for numbers in regions.values() for value in numbers}
    values = tuple(int(value) if _is_label(value) else -1 for value in order)
    if len(values) != len(regions) or not known.issuperset(values):
        raise DatasetError(
            f"{where}: 'regions_class_order' {shortened(order)} does not give one label value "
            f"to each of the regions {', '.join(regions)}",
            f"Use values out of {sorted(known)}, one a region.",
        )
    return values
