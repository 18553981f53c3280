"""docs/networks.md: every network, out of its family and of what benchmarks/networks.py measured.

Source, licence and differences stand in the docstring of the family, as ``Source: text.``,
``Licence: text.`` and a list under ``Differences from the published code:``.
"""

import csv
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from mednext_cli.foundation.plugins import find_plugins
from mednext_cli.networks.choice import ChosenNetwork, choose_network
from mednext_cli.networks.patches import PatchRule, shown_patch
from mednext_cli.settings.recipe import ModelSettings

_MEASURED = Path(__file__).parents[1] / "benchmarks" / "results" / "networks.csv"
_HEAD = """# Networks

Written by `docs/generate.py` from the families themselves and from what `python
benchmarks/networks.py` measured (`benchmarks/results/networks.csv`); `make docs` writes it anew.

```sh
mednext train kits19 --network uxnet
mednext predict scans/ --model runs/kits19/uxnet/fold0 --out predictions
```

`mednext train`, `predict`, `evaluate`, `weights` and the rest work alike with all of them. What of
a network can be chosen: [recipe_keys.md](recipe_keys.md). Recipes with the optimiser and rate that
each was published with: `mednext recipes ls`. How to add one: CONTRIBUTING.md.
"""
_SIZE = """## Size

One channel, 14 classes, without heads on lower resolutions. Multiply-adds are of convolutions and
products of matrices for one patch; GiB of a training step in float32 with two patches and AdamW, as
`mednext recipes check` estimates them, as they are and with `checkpointing = true`.
"""
_HERE = """## On one core

A patch of the size that is named, float32. The step is forward and backward without the optimiser;
beside it stands what `scale-report` would estimate for this processor (2.3 times the roofline of
what it does at most, the factor of stock libraries on an A100). GiB are of the process's growth,
beside what was estimated.
"""
_RULES = """## Patches

What each axis is a multiple of and the smallest patch, of networks that are not planned yet: a
network that is tied to its patch, or halves as often as its patch allows, takes that from the plan
or from `training.patch_voxels`.
"""
_ELSEWHERE = """## Elsewhere

Whether the network runs through `torch.compile` (one graph, no breaks), `torch.onnx.export` and the
engine `openvino` with the logits of PyTorch. Tests hold the engine `onnx` to them, with a small
network of each.
"""
_COLUMNS = {
    "Size": ("patch", "parameters (M)", "multiply-adds (G)", "GiB", "GiB, checkpointing"),
    "Here": (
        "patch",
        "forward (s)",
        "step (s)",
        "step, estimated (s)",
        "GiB measured",
        "GiB estimated",
    ),
    "Elsewhere": ("torch.compile", "ONNX", "OpenVINO"),
}


def networks_page() -> str:
    """The page: tables over all networks, then a section each."""
    names = [name for name, plugin in find_plugins("networks").items() if plugin.built_in]
    chosen = {name: choose_network(ModelSettings(network=name)) for name in names}
    measured = _measured()
    parts = [_HEAD, _SIZE, _table(_COLUMNS["Size"], {n: _size(measured.get(n)) for n in names})]
    parts += [_HERE, _table(_COLUMNS["Here"], {n: _here(measured.get(n)) for n in names})]
    parts += [_RULES, _table(*_rules(chosen))]
    parts += [
        _ELSEWHERE,
        _table(_COLUMNS["Elsewhere"], {n: _elsewhere(measured.get(n)) for n in names}),
    ]
    return "\n".join([*parts, *(_section(name, chosen[name]) for name in names)])


def _measured() -> dict[str, dict[str, str]]:
    with _MEASURED.open(newline="", encoding="utf-8") as stream:
        return {row["network"]: row for row in csv.DictReader(stream)}


def _table(columns: tuple[str, ...], rows: dict[str, tuple[str, ...]]) -> str:
    lines = [f"| network | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    lines += [f"| `{name}` | {' | '.join(cells)} |" for name, cells in rows.items()]
    return "\n".join([*lines, ""])


def _size(row: dict[str, str] | None) -> tuple[str, ...]:
    if row is None:
        return ("not measured", *[""] * 4)
    millions, billions = (int(row[key]) / 10**power for key, power in _COUNTS)
    return (
        row["paper_patch_voxels"],
        f"{millions:.2f}",
        f"{billions:.1f}",
        row["training_gib"],
        row["training_checkpointed_gib"],
    )


_COUNTS = (("parameters", 6), ("multiply_adds", 9))


def _here(row: dict[str, str] | None) -> tuple[str, ...]:
    if row is None:
        return ("not measured", *[""] * 5)
    keys = (
        "forward_seconds",
        "step_seconds",
        "step_seconds_estimated",
        "step_gib_measured",
        "step_gib_estimated",
    )
    return (row["patch_voxels"], *(row[key] for key in keys))


def _elsewhere(row: dict[str, str] | None) -> tuple[str, ...]:
    keys = ("torch_compile", "onnx", "openvino")
    return tuple(row[key].replace("|", "/") for key in keys) if row else ("not measured", "", "")


def _multiple_of(rule: PatchRule) -> str:
    planned = rule.divisors[0] if len(set(rule.divisors)) == 1 else shown_patch(rule.divisors)
    return f"{planned}; in PyTorch {rule.taken[0]}" if rule.taken else str(planned)


def _rules(
    chosen: dict[str, ChosenNetwork],
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    columns = ("multiple of", "smallest", "tied to its patch", "heads on lower resolutions")
    rows = {}
    for name, network in chosen.items():
        family, settings = network.family, network.settings
        rule = family.patch_rule(settings)
        heads = "none"
        if family.deep_supervision:
            heads = "on" if family.supervises(settings) else "off, can be had"
        rows[name] = (
            _multiple_of(rule),
            shown_patch(rule.smallest),
            "yes" if rule.fixed else "no",
            heads,
        )
    return columns, rows


def _section(name: str, network: ChosenNetwork) -> str:
    text = inspect.cleandoc(type(network.family).__doc__ or "")
    head = text.partition("\n\n")[0]
    lines = [f"## {name}", "", head, "", *(f"- {fact}" for fact in _facts(text)), ""]
    if differences := _differences(text):
        lines += ["Differences from the published code:", "", *differences, ""]
    requires = sorted(set(network.family.requires.values()))
    if requires:
        lines += [f"Needs `pip install '{', '.join(requires)}'`.", ""]
    return "\n".join(lines)


def _facts(text: str) -> Iterator[str]:
    for what in ("Source", "Licence"):
        found = re.search(rf"^{what}: (.+?)$(?=\n\n|\n\w+:|\Z)", text, re.MULTILINE | re.DOTALL)
        if found is None:
            raise ValueError(f"the family says no {what}: {text}")
        yield f"{what}: {' '.join(found[1].split())}"


def _differences(text: str) -> list[str]:
    _, _, rest = text.partition("Differences from the published code:\n")
    entries = re.split(r"^- ", rest.partition("\n\n")[0], flags=re.MULTILINE)[1:]
    return [f"- {' '.join(entry.split())}" for entry in entries]
