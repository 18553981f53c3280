"""The networks of a sheet: a trained one, or untrained MedNeXts, which cost the same."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from mednext_cli.deployment.scans import MADE_UP
from mednext_cli.deployment.specification import ClinicalSheetSpec
from mednext_cli.inference.catalogue.names import resolve_models
from mednext_cli.inference.models import Model, load_models
from mednext_cli.inference.sliding import Window
from mednext_cli.networks.building import build_plain, expected_weights
from mednext_cli.networks.checkpoint import Checkpoint, save_checkpoint
from mednext_cli.networks.spec import NetworkSpec, describe_network
from mednext_cli.settings.labels import labels_in_order
from mednext_cli.settings.plan import ChannelNormalisation, Plan
from mednext_cli.settings.recipe import InferenceSettings, Recipe

_CT = ChannelNormalisation(scheme="ct", lower=-200.0, upper=300.0, mean=50.0, std=80.0)
_MR = ChannelNormalisation(scheme="z_score", use_nonzero_mask=True)
_SMALL = (64, 64, 64)  # voxels of a tile that is quickly done


@dataclass(frozen=True, eq=False)
class Subject:
    """A network, or several that are averaged, as predictions are made with it.

    Attributes:
        name: for tables.
        models: with the overlap and the mirroring that are measured.
        trained: whether they lie in files.
    """

    name: str
    models: tuple[Model, ...]
    trained: bool

    @property
    def plan(self) -> Plan:
        """How scans are prepared."""
        return self.models[0].plan

    @cached_property
    def parameters(self) -> int:
        """Of all networks together, with heads that only training needs."""
        return sum(
            weights.numel()
            for model in self.models
            for weights in expected_weights(model.checkpoint.network).values()
        )

    @property
    def mirrorings(self) -> int:
        """Times that each tile is predicted."""
        return int(2 ** len(self.models[0].mirrored))

    @property
    def small_tile(self) -> tuple[int, int, int]:
        """A tile (D, H, W) that the first network takes."""
        patch = self.models[0].plan.patch_voxels
        depth, height, width = (min(pair) for pair in zip(patch, _SMALL, strict=True))
        return self.models[0].checkpoint.network.patch_rule.fit((depth, height, width))

    def count_tiles(self, shape: Sequence[int]) -> int:
        """Tiles and mirrorings of all networks for a prepared image (D, H, W)."""
        depth, height, width = shape
        windows = (
            Window(model.plan.patch_voxels, model.mirrored, model.overlap, model.plan.turn)
            for model in self.models
        )
        return sum(window.count_tiles((depth, height, width)) for window in windows)

    def identity(self) -> dict[str, object]:
        """What decides how long a prediction takes."""
        return {
            "networks": [model.sha256 or model.checkpoint.network.flat() for model in self.models],
            "plan": self.plan.model_dump(mode="json"),
            "overlap": [model.overlap for model in self.models],
            "mirrored": [list(model.mirrored) for model in self.models],
        }

    def files(self, folder: Path) -> tuple[Path, ...]:
        """Its checkpoints; untrained ones are written into a folder where they are not yet.

        Raises:
            StorageError: the disk refuses.
        """
        if self.trained:
            return tuple(model.path for model in self.models)
        path = folder / f"{self.name}-{len(self.plan.channels)}.pt"
        if not path.exists():
            _write_untrained(path, self.models[0].checkpoint)
        return (path,)


def _write_untrained(path: Path, checkpoint: Checkpoint) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = build_plain(checkpoint.network).state_dict()
    save_checkpoint(path, replace(checkpoint, state_dict=weights))


def trained_subject(spec: ClinicalSheetSpec) -> Subject:
    """The trained network of a sheet.

    Raises:
        CheckpointError, SettingsError: the models cannot be used, or not together.
    """
    loaded = load_models(resolve_models(spec.models))
    models = tuple(model.asked(spec.overlap, spec.mirror) for model in loaded)
    network = models[0].checkpoint.network
    label = network.family.label(network.settings)
    more = f", {len(models)} averaged" if len(models) > 1 else ""
    return Subject(f"{label}{more}", models, trained=True)


def untrained_subjects(spec: ClinicalSheetSpec, volume: str) -> list[Subject]:
    """Every size with every kernel, for the channels of a made-up scan.

    Raises:
        SettingsError: there is no such network, or it takes no such patch.
    """
    channels = MADE_UP[volume].channels
    networks = [
        describe_network(
            "mednext",
            len(channels),
            spec.classes,
            size=size,
            kernel=kernel,
            base_channels=spec.base_channels,
        )
        for size in spec.sizes
        for kernel in spec.kernels
    ]
    return [_untrained(spec, network, channels) for network in networks]


def _untrained(spec: ClinicalSheetSpec, network: NetworkSpec, channels: tuple[str, ...]) -> Subject:
    network.patch_rule.check(spec.patch_voxels)
    normalisation = _CT if channels == ("CT",) else _MR
    plan = Plan(
        dataset="untrained",
        layout="folder",
        spacing_mm=spec.spacing_mm,
        patch_voxels=spec.patch_voxels,
        batch_size=2,
        channels=channels,
        normalisation=(normalisation,) * len(channels),
        label_set=labels_in_order(",".join(f"class_{n}" for n in range(1, spec.classes))),
    )
    recipe = Recipe(inference=InferenceSettings(mirror=False))
    name = network.family.label(network.settings)
    model = Model(
        path=Path(name),
        sha256="",
        checkpoint=Checkpoint(network, {}, plan=plan, recipe=recipe),
        plan=plan,
        mirror_axes=recipe.augmentation.mirrored,
        mirror=recipe.inference.mirror,
        overlap=recipe.inference.overlap,
    )
    return Subject(name, (model.asked(spec.overlap, spec.mirror),), trained=False)
