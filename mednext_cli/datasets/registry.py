"""Layouts by name, ours and plugins', and a guess which of them a folder follows."""

import logging
from pathlib import Path

from pydantic import ValidationError

from mednext_cli.datasets.dataset import Dataset, Layout
from mednext_cli.datasets.hints import advise
from mednext_cli.datasets.hints import fitting_layouts as fitting_layouts
from mednext_cli.datasets.names import problem_of_id, shortened
from mednext_cli.datasets.options import LayoutOptions
from mednext_cli.datasets.passed_over import note_passed_over
from mednext_cli.datasets.raw_folder import CHECK, OtherLayoutError, is_folder
from mednext_cli.foundation.errors import DatasetError, PluginError, SettingsError
from mednext_cli.foundation.plugin_check import check_strangers
from mednext_cli.foundation.plugins import Plugin, find_plugins, load_plugin
from mednext_cli.settings.problems import first_problem

logger = logging.getLogger(__name__)


def load_layout(name: str) -> Layout:
    """The layout registered under `name`.

    Raises:
        PluginError: unknown (the known names are listed) or broken.
    """
    layout = load_plugin("datasets", name)
    if not (hasattr(layout, "description") and callable(getattr(layout, "read", None))):
        target = find_plugins("datasets")[name].target
        raise PluginError(f"{target} is no dataset layout", "It needs description and read(raw).")
    return layout  # type: ignore[no-any-return]


def read_dataset(raw: Path, layout: str, options: LayoutOptions | None = None) -> Dataset:
    """List the cases below `raw` as the layout of that name sees them.

    Args:
        raw: the raw folder.
        layout: name of its layout.
        options: what the user said beside; only layouts that take an option are given it.

    Raises:
        PluginError: the layout is unknown.
        DatasetError: the folder does not follow the layout; names one that it does follow.
        SettingsError: the layout does not take an option that is given.
    """
    reader = load_layout(layout)
    given = options.given() if options else {}
    _check_options(reader, layout, given)
    try:
        dataset = reader.read(raw, **given)
    except DatasetError as error:
        raise _with_hint(error, raw, layout) from error
    except ValidationError as error:  # of labels, which not every layout looks at itself
        raise DatasetError(
            f"{raw}: labels that cannot be: {first_problem(error)}", "Correct them."
        ) from error
    if problem := problem_of_id(dataset.name):
        raise DatasetError(f"{raw}: {shortened(dataset.name)} {problem}", "Rename the folder.")
    note_passed_over(raw, dataset, logging.INFO if given else logging.WARNING)
    _note_unlabelled(dataset)
    return dataset


def _with_hint(error: DatasetError, raw: Path, layout: str) -> DatasetError:
    """The error with the layout that fits; or, for a folder of none, with what it holds."""
    fitting = fitting_layouts(raw)
    if layout in fitting or not is_folder(raw):
        return error
    if fitting:
        return DatasetError(error.message, advise(raw))
    if isinstance(error, OtherLayoutError):
        remedy = "" if error.remedy == CHECK else error.remedy
        return DatasetError(error.message, f"{remedy} {advise(raw)}".strip() or CHECK)
    return error


def _note_unlabelled(dataset: Dataset) -> None:
    """Test cases are not dropped in silence: preprocessing and training pass them over."""
    without = [case.id for case in dataset.cases if case.label is None]
    if len(without) == len(dataset.cases):
        logger.info("%s: none of the %d cases has a label map", dataset.name, len(without))
    elif without:
        named = without[0] if len(without) == 1 else f"{without[0]} to {without[-1]}"
        note = "%s: %d of %d cases have no label map and count as test cases (%s)"
        logger.info(note, dataset.name, len(without), len(dataset.cases), named)


def _check_options(reader: Layout, layout: str, given: dict[str, object]) -> None:
    taken = getattr(reader, "options", ())
    for name in given:
        if name not in taken:
            spelled = [f"--{option.replace('_', '-')}" for option in taken]
            raise SettingsError(
                f"the layout {layout} does not take --{name.replace('_', '-')}",
                f"It takes {', '.join(spelled)}." if spelled else "Leave the option out.",
            )


def describe_layouts() -> tuple[tuple[str, str, str], ...]:
    """Name, distribution and description of every layout; a broken one says why it is."""
    plugins = find_plugins("datasets")
    return tuple(
        (name, plugins[name].distribution, error or _describe(plugins[name]))
        for name, error in check_strangers("datasets").items()
    )


def _describe(plugin: Plugin) -> str:
    text = getattr(plugin.load(), "description", None)
    return text if isinstance(text, str) else f"{plugin.target} is no dataset layout"
