"""Layouts by name, ours and plugins', and a guess which of them a folder follows."""

import logging
from pathlib import Path

from mednext_cli.datasets.dataset import Dataset, Layout
from mednext_cli.datasets.options import LayoutOptions
from mednext_cli.foundation.errors import DatasetError, PluginError, SettingsError
from mednext_cli.foundation.plugin_check import check_strangers
from mednext_cli.foundation.plugins import Plugin, find_plugins, load_plugin

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
        fitting = fitting_layouts(raw)
        if not fitting or layout in fitting:
            raise
        others = " or --dataset ".join(fitting)
        raise DatasetError(error.message, f"{raw} looks like --dataset {others}.") from error
    _note_unlabelled(dataset)
    return dataset


def _note_unlabelled(dataset: Dataset) -> None:
    """Test cases are not dropped in silence: preprocessing and training pass them over."""
    without = [case.id for case in dataset.cases if case.label is None]
    if without and len(without) < len(dataset.cases):
        named = without[0] if len(without) == 1 else f"{without[0]} to {without[-1]}"
        note = "%s: %d of %d cases have no label map and count as test cases (%s)"
        logger.info(note, dataset.name, len(without), len(dataset.cases), named)


def _check_options(reader: Layout, layout: str, given: dict[str, object]) -> None:
    taken = getattr(reader, "options", ())
    for name in given:
        if name not in taken:
            spelled = [f"--{one.replace('_', '-')}" for one in taken]
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


def fitting_layouts(raw: Path) -> tuple[str, ...]:
    """Names of the layouts that recognise the folder; plugins that fail are passed over."""
    plugins = find_plugins("datasets")
    sound = [name for name, error in check_strangers("datasets").items() if not error]
    return tuple(name for name in sound if _recognises(plugins[name], raw))


def _recognises(plugin: Plugin, raw: Path) -> bool:
    try:
        return bool(plugin.load().recognises(raw))
    except Exception as error:  # a stranger's, or a folder that cannot be read
        logger.debug("%s does not say whether it fits %s", plugin.name, raw, exc_info=error)
        return False
