"""What to try with a folder that is not of the layout it was said to have."""

import logging
from pathlib import Path

from mednext_cli.datasets.raw_folder import is_folder, list_names
from mednext_cli.foundation.errors import DatasetError, PluginError
from mednext_cli.foundation.plugin_check import check_strangers
from mednext_cli.foundation.plugins import Plugin, find_plugins
from mednext_cli.volumes.scan_names import is_scan_name

logger = logging.getLogger(__name__)
_MOST_FOLDERS = 50  # that are looked into
_FEW = 3


def fitting_layouts(raw: Path) -> tuple[str, ...]:
    """Names of the layouts that recognise the folder; plugins that fail are passed over."""
    return _fitting(_sound_layouts(), raw)


def _sound_layouts() -> list[Plugin]:
    """Those that load; strangers are tried in another process, which takes a while."""
    plugins = find_plugins("datasets")
    return [plugins[name] for name, error in check_strangers("datasets").items() if not error]


def _fitting(layouts: list[Plugin], raw: Path) -> tuple[str, ...]:
    return tuple(plugin.name for plugin in layouts if recognises(plugin, raw))


def recognises(plugin: Plugin, raw: Path) -> bool:
    """Whether the folder looks like this layout; no, where the layout fails to say so."""
    try:
        return bool(plugin.load().recognises(raw))
    except Exception as error:  # a stranger's, or a folder that cannot be read
        logger.debug("%s does not say whether it fits %s", plugin.name, raw, exc_info=error)
        return False


def advise(raw: Path) -> str:
    """Which layout a folder has, its parent or a folder in it; else what it holds.

    Returns:
        One or two sentences; "" where there is nothing to say.
    """
    layouts = _sound_layouts()
    for near in (raw, *_near(raw)):
        if fitting := _fitting(layouts, near):
            end = "" if near == raw else ": give that folder"
            return f"{near} looks like --dataset {' or --dataset '.join(fitting)}{end}."
    return _contents(raw)


def _near(raw: Path) -> list[Path]:
    """Folders that may have been meant: those inside, and the one around."""
    return [*_folders_in(raw), raw.absolute().parent]


def _folders_in(raw: Path) -> list[Path]:
    try:
        names = list_names(raw) if is_folder(raw) else []
    except DatasetError:
        return []
    return [raw / name for name in names if is_folder(raw / name)][:_MOST_FOLDERS]


def _contents(raw: Path) -> str:
    """What is there instead, and the layout that is nearest to it."""
    try:
        names = list_names(raw)
    except DatasetError:
        return ""
    folders = _folders_in(raw)
    scans = [name for name in names if is_scan_name(name)]
    below = [folder for folder in folders if any(map(is_scan_name, _names_in(folder)))]
    found = [
        *([f"{len(scans)} scans ({_few(scans)})"] if scans else []),
        *(
            [f"{len(folders)} folders ({_few([folder.name for folder in folders])})"]
            if folders
            else []
        ),
    ]
    holds = f"No layout fits: {raw} holds {' and '.join(found) or 'no scans and no folders'}."
    if not (scans or below):
        return holds
    nearest = "nnunet" if "dataset.json" in names else "folder"
    return f"{holds} The nearest is --dataset {nearest}: {_description(nearest)}."


def _names_in(folder: Path) -> list[str]:
    try:
        return list_names(folder)
    except DatasetError:
        return []


def _few(names: list[str]) -> str:
    return ", ".join(names[:_FEW]) + (", ..." if len(names) > _FEW else "")


def _description(layout: str) -> str:
    try:
        return str(find_plugins("datasets")[layout].load().description)
    except (KeyError, PluginError, AttributeError):
        return "mednext datasets ls describes it"
