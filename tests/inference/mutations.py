"""What a checkpoint could say that cannot be: each a change to the content of a whole one."""

from collections.abc import Callable
from typing import Any

import torch

Content = dict[str, Any]
Change = Callable[[Content], object]


def put(*path: Any, value: Any) -> Change:  # the last of `path` is the key
    def change(content: Content) -> None:
        inner: Any = content
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    return change


def put_setting(key: str, value: Any) -> Change:
    return put("network", "settings", key, value=value)


def weight(make: Callable[[torch.Tensor], Any]) -> Change:
    def change(content: Content) -> None:
        content["state_dict"]["stem.weight"] = make(content["state_dict"]["stem.weight"])

    return change


def _drop_weight(content: Content) -> None:
    del content["state_dict"]["stem.weight"]


def _unfit_classes(content: Content) -> None:
    content["plan"]["label_set"]["names"]["third"] = 9


_CHANNEL = {"scheme": "z_score"}
_STEEP = {"scheme": "ct", "lower": 0.0, "upper": 1.0, "mean": 0.0, "std": 0.0}

NETWORK: dict[str, Change] = {
    "blocks": put_setting("blocks", [10**7] * 9),
    "no blocks": put_setting("blocks", []),
    "expansion": put_setting("expansion", [10**6] * 9),
    "width": put_setting("base_channels", 10**9),
    "kernel": put_setting("kernel", 999_999),
    "even kernel": put_setting("kernel", 4),
    "other kernel": put_setting("kernel", 7),
    "one side's kernel": put_setting("encoder_kernel", 5),
    "dimensions": put_setting("dimensions", 5),
    "flat": put_setting("dimensions", 2),
    "norm": put_setting("norm", "batch"),
    "surprise": put_setting("surprise", 1),
    "an argument": put_setting("in_channels", 1),
    "channels": put("network", "in_channels", value=0),
    "channels as text": put("network", "in_channels", value="1"),
    "outputs": put("network", "out_channels", value=-3),
    "many outputs": put("network", "out_channels", value=10**6),
    "heads": put("network", "deep_supervision", value="yes"),
    "network": put("network", "name", value="\x1b[31mred"),
    "unknown network": put("network", "name", value="nobody's"),
    "no settings": put("network", "settings", value=None),
    "no network": put("network", value=None),
    "complex": weight(lambda value: value.to(torch.complex64)),
    "whole numbers": weight(lambda value: value.to(torch.int8)),
    "another shape": weight(lambda value: value[:1]),
    "no axis": weight(lambda value: value.sum()),
    "not finite": weight(lambda value: value * float("inf")),
    "a list": weight(lambda value: value.tolist()),
    "no weight": _drop_weight,
    "no weights": put("state_dict", value={}),
    "weights of a number": put("state_dict", 7, value=torch.zeros(3)),
    "surplus": put("state_dict", "\x1b]0;title", value=torch.zeros(3)),
    "no content": put("state_dict", value=None),
    "version": put("version", value=[1]),
    "format": put("format", value=None),
    "metadata": put("metadata", value=[]),
    "endless text": put("metadata", "note", value="x" * 1_000_000),
    "steering text": put("metadata", "note", value="\x1b[2J"),
}
"""What everyone refuses who loads it."""

PLAN: dict[str, Change] = {
    "spacing": put("plan", "spacing_mm", 0, value=float("inf")),
    "no spacing": put("plan", "spacing_mm", 0, value=0.0),
    "spacing of nothing": put("plan", "spacing_mm", 0, value=float("nan")),
    "four spacings": put("plan", "spacing_mm", value=[1.0] * 4),
    "deviation": put("plan", "normalisation", value=[_STEEP]),
    "mean": put("plan", "normalisation", value=[{**_CHANNEL, "mean": float("nan")}]),
    "two channels' scheme": put("plan", "normalisation", value=[_CHANNEL] * 2),
    "two channels": put("plan", "channels", value=["MRI", "CT"]),
    "channel name": put("plan", "channels", value=["\x1b[31mCT"]),
    "patch": put("plan", "patch_voxels", value=[17, 32, 16]),
    "large patch": put("plan", "patch_voxels", value=[160_000, 16, 16]),
    "no patch": put("plan", "patch_voxels", value=[0, 0, 0]),
    "patch of flags": put("plan", "patch_voxels", value=[True, 32, 16]),
    "batch": put("plan", "batch_size", value=10**9),
    "label value": put("plan", "label_set", "names", "kidney", value=70_000),
    "negative label": put("plan", "label_set", "names", "kidney", value=-1),
    "more classes than outputs": _unfit_classes,
    "no labels": put("plan", "label_set", "names", value={}),
    "label name": put("plan", "label_set", "names", "a\nb", value=1),
    "region": put("plan", "label_set", "regions", "kidney", value=[1, 77]),
    "no regions": put("plan", "label_set", "regions", value={}),
    "regions for classes": put("plan", "label_set", "region_training", value=True),
    "ignore": put("plan", "label_set", "ignore", value=4),
    "dataset": put("plan", "dataset", value="../../outside"),
    "absolute dataset": put("plan", "dataset", value="/etc"),
    "long dataset": put("plan", "dataset", value="x" * 300),
    "tolerance": put("plan", "label_set", "tolerance_mm", value={"kidney": float("nan")}),
    "plan version": put("plan", "version", value=3),
    "surprise": put("plan", "surprise", value=1),
    "advice": put("plan", "label_set", "strangers", value={7: "text"}),
    "no label set": put("plan", "label_set", value=[]),
    "a list as plan": put("plan", value=[1]),
    "empty plan": put("plan", value={}),
}
"""What a plan cannot say."""

RECIPE: dict[str, Change] = {
    "overlap": put("recipe", "inference", "overlap", value=0.9999999),
    "negative overlap": put("recipe", "inference", "overlap", value=-0.5),
    "overlap of nothing": put("recipe", "inference", "overlap", value=float("nan")),
    "mirror axes": put("recipe", "augmentation", "mirror_axes", value=["left_right"] * 22),
    "an axis of nobody": put("recipe", "augmentation", "mirror_axes", value=["up"]),
    "mirror": put("recipe", "inference", "mirror", value="maybe"),
    "no section": put("recipe", "inference", value=3),
    "a list as recipe": put("recipe", value=[]),
    "an unknown section": put("recipe", "surprise", value=1),
}
PROGRESS: dict[str, Change] = {
    "iteration": put("progress", "iteration", value=-1),
    "text as iteration": put("progress", "iteration", value="3"),
    "seconds": put("progress", "seconds", value=float("inf")),
    "Dice": put("progress", "best_dice", value=7.0),
    "history": put("progress", "history", value=[{"epoch": "one"}]),
    "an epoch without a loss": put("progress", "history", value=[{"epoch": 1.0}]),
    "changes": put("progress", "changes", value=[{"setting": "a\nb"}]),
    "unknown progress": put("progress", "finished", value=True),
    "cases elsewhere": put("origin", value={"training_cases": ["../../outside"]}),
}
