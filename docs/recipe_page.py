"""docs/recipe_keys.md: every key of a recipe, out of the pydantic models and their docstrings.

What a key means and where its default comes from stand in the docstring of its section, under
``Attributes:``, as ``key: meaning (source).``
"""

import inspect
import re
from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import tomli_w
from pydantic import BaseModel

from mednext_cli.foundation.plugins import find_plugins
from mednext_cli.networks.registry import find_family
from mednext_cli.settings.callbacks import CallbackSettings, callback_settings
from mednext_cli.settings.recipe import ModelSettings, Recipe

_HEAD = """# The keys of a recipe

Written by `docs/generate.py` from the models themselves; `make docs` writes it anew.

`mednext recipes show NAME` prints what a recipe resolves to, `recipes cp` copies it to edit.
A value is changed for one run by `--set training.epochs=50`. Why the values are what they are:
[concepts/recipe.md](concepts/recipe.md).
"""
_SOURCE = re.compile(r"^(?P<meaning>.+?)\s*\((?P<source>[^()]+)\)\.?$")


def recipe_page() -> str:
    """The page, a section a table."""
    parts = [_HEAD]
    for name, section in recipe_sections():
        lines = [f"## [{name}]", "", _introduction(section), ""]
        lines += ["| key | default | range | meaning | source |", "|---|---|---|---|---|"]
        parts.append("\n".join([*lines, *_rows(section), ""]))
    return "\n".join(parts)


def recipe_sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """The sections of a recipe by name."""
    for name, field in Recipe.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield name, section
        if section is ModelSettings:
            for network, plugin in find_plugins("networks").items():
                if plugin.built_in:
                    yield f"{name}.{network}", find_family(network).Settings
        if section is CallbackSettings:
            for callback, plugin in find_plugins("callbacks").items():
                if plugin.built_in:
                    yield f"{name}.{callback}", callback_settings(callback)


def explained_keys(section: type[BaseModel]) -> dict[str, tuple[str, str]]:
    """Meaning and source by key, out of the docstrings of the section and what it extends.

    Empty where they say nothing.
    """
    found = {}
    for entry in _entries(section):
        key, _, text = " ".join(entry.split()).partition(": ")
        matched = _SOURCE.match(text)
        explained = (matched["meaning"], matched["source"]) if matched else (text, "")
        found.update(dict.fromkeys(key.split(", "), explained))
    return {key: found.get(key, ("", "")) for key in section.model_fields}


def _entries(section: type[BaseModel]) -> Iterator[str]:
    for extended in reversed(section.__mro__):
        _, _, attributes = inspect.cleandoc(extended.__doc__ or "").partition("Attributes:\n")
        yield from re.split(r"\n(?=    \S)", f"\n{attributes}")


def _introduction(section: type[BaseModel]) -> str:
    return " ".join(inspect.cleandoc(section.__doc__ or "").partition("Attributes:")[0].split())


def _rows(section: type[BaseModel]) -> Iterator[str]:
    for key, (meaning, source) in explained_keys(section).items():
        field = section.model_fields[key]
        allowed = _range(field.annotation, field.metadata)
        cells = (f"`{key}`", _value(field.default), allowed, meaning, source)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(value: Any) -> str:  # noqa: ANN401 - any default
    """As TOML writes it."""
    if value is None:
        return "left out"
    text = tomli_w.dumps({"value": value}).strip().removeprefix("value = ")
    return f"`{' '.join(text.split()).replace('[ ', '[').replace(', ]', ']')}`"


def _range(kind: Any, metadata: Sequence[Any]) -> str:  # noqa: ANN401 - any annotation
    """What a field's type and limits allow, in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _range(inner[0], [*inner[1:], *metadata])
    if origin in (Union, UnionType):
        return " or ".join(_range(part, metadata) for part in inner if part is not NoneType)
    if origin is Literal:
        return ", ".join(_value(part) for part in inner)
    if origin is tuple and inner[-1] is Ellipsis:
        return f"a list of {_range(inner[0], ())}"
    if origin is tuple:
        return f"{len(inner)} {_range(inner[0], ())}"
    words = {bool: "true, false", str: "text", int: "whole numbers", float: "numbers"}
    return f"{words.get(kind, 'a table')} {_limits(metadata)}".strip()


def _limits(metadata: Sequence[Any]) -> str:
    """Of numbers, the strictest; those of a Field within the annotation lie one deeper."""
    flat = [entry for part in metadata for entry in (getattr(part, "metadata", None) or [part])]
    strictest = {"ge": ("from", max), "gt": ("above", max), "le": ("to", min), "lt": ("below", min)}
    said = []
    for name, (word, choose) in strictest.items():
        limits = [limit for entry in flat if (limit := getattr(entry, name, None)) is not None]
        said += [f"{word} {choose(limits):,}".removesuffix(".0")] if limits else []
    return " ".join(said)
