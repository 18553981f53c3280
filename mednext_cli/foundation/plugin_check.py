"""Plugins tried in a process of their own: whatever importing one does happens there.

Run as a module (``python -m mednext_cli.foundation.plugin_check REPORT < PLUGINS``) it is that
process.
"""

import importlib.util
import inspect
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mednext_cli.foundation.errors import PluginError
from mednext_cli.foundation.plugins import Plugin, find_plugins

_SECONDS = 120.0  # for all that are tried together; torch alone can take 20 on a cold disk


@dataclass(frozen=True)
class Check:
    """What became of loading a plugin.

    Attributes:
        error: why it cannot be used; empty where it can.
        help: the first paragraph of what it says of itself.
    """

    error: str
    help: str = ""


def check_plugins(plugins: Mapping[str, Plugin]) -> dict[str, Check]:
    """Load each in another process, and say what came of it.

    One that takes its process along (``os._exit``, a crash, an endless loop) is found out, and the
    others are tried without it.
    """
    checks = {key: Check(plugin.refused) for key, plugin in plugins.items() if plugin.refused}
    left = {key: plugin for key, plugin in plugins.items() if not plugin.refused}
    while left:
        found, ending = _try(left)
        for key, check in zip(list(left), found, strict=False):
            checks[key] = check
            del left[key]
        if left:
            culprit = next(iter(left))
            checks[culprit] = Check(f"{left.pop(culprit).target} {ending}")
    return {key: checks[key] for key in plugins}


def _try(plugins: Mapping[str, Plugin]) -> tuple[list[Check], str]:
    """Checks in order, as far as one process came, and how it ended."""
    asked = json.dumps([(plugin.name, plugin.kind, plugin.target) for plugin in plugins.values()])
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        report.touch()
        command = [sys.executable, "-m", "mednext_cli.foundation.plugin_check", str(report)]
        try:
            done = subprocess.run(
                command, input=asked, text=True, capture_output=True, timeout=_SECONDS, check=False
            )
            ending = f"ends the process that loads it (exit code {done.returncode})"
        except subprocess.TimeoutExpired:
            ending = f"does not load within {_SECONDS:.0f} s"
        lines = report.read_bytes().splitlines()
    return [Check(**json.loads(line)) for line in lines], ending


def check_strangers(kind: str) -> dict[str, str]:
    """For every plugin of a kind why it cannot be used, or ""; ours are not tried."""
    plugins = find_plugins(kind)
    strangers = {key: plugin for key, plugin in plugins.items() if not plugin.built_in}
    checks = check_plugins(strangers)
    return {key: checks[key].error if key in checks else "" for key in plugins}


def _main(asked: Iterable[tuple[str, str, str]], report: Path) -> None:
    # Beside the standard streams, which the plugins may write to.
    with report.open("w", encoding="utf-8") as stream:
        for name, kind, target in asked:
            stream.write(json.dumps(_check(Plugin(name, kind, target, "", ""))) + "\n")
            stream.flush()


def _check(plugin: Plugin) -> dict[str, str]:
    try:
        target = plugin.load()
    except PluginError as error:
        reason = error.__cause__
        return {"error": f"{type(reason).__name__}: {reason}" if reason else error.message}
    return {"error": _missing(target), "help": _help(target)}


def _missing(target: Any) -> str:  # noqa: ANN401 - each kind has its own type
    """What must be installed first, as the attribute `requires` (package: what to install) says."""
    requires = getattr(target, "requires", {})
    lacking = {install for name, install in requires.items() if not importlib.util.find_spec(name)}
    return f"needs pip install {' '.join(map(repr, sorted(lacking)))}" if lacking else ""


def _help(target: Any) -> str:  # noqa: ANN401
    text = getattr(getattr(target, "info", None), "help", None) or inspect.getdoc(target) or ""
    return str(text).partition("\n\n")[0]


if __name__ == "__main__":
    _main(json.load(sys.stdin), Path(sys.argv[1]))
