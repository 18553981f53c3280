"""The recipe of the largest MedNeXt that a budget of memory and hours affords on a dataset."""

from dataclasses import dataclass
from pathlib import Path

from mednext_cli.cache.reader import open_cache
from mednext_cli.foundation.devices import pick_device, pick_dtype
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.mednext.kernels.availability import can_run
from mednext_cli.networks.mednext.settings import MedNeXtSettings
from mednext_cli.networks.mednext.variants import VARIANTS
from mednext_cli.scaling.budget import Budget, Candidate, Choice, choose_within, parse_budget
from mednext_cli.scaling.device_sheets import find_sheet
from mednext_cli.scaling.specification import ReportedNetwork
from mednext_cli.settings.recipe import DEFAULT_NETWORK, ModelSettings, Recipe
from mednext_cli.training.starting import Setup

_KERNELS = (3, 5)


@dataclass(frozen=True)
class AffordSpec:
    """What is asked for.

    Attributes:
        recipe: of the training; size, kernel, patch, batch and checkpointing are chosen.
        cache: the dataset's, whose plan gives the patch and batch that are tried first.
        budget: like ``11 GiB, 24 h``.
        device_sheet: device that hours are estimated for; "" knows none but a CPU's.
        device: auto, cpu, cuda, cuda:N or mps.
    """

    recipe: Recipe
    cache: Path
    budget: str
    device_sheet: str = ""
    device: str = "auto"


@dataclass(frozen=True)
class AffordResult:
    """The recipe with what was chosen, and what else could have been."""

    recipe: Recipe
    choice: Choice


def afford(spec: AffordSpec) -> AffordResult:
    """Choose the largest MedNeXt that fits, with its patch, batch and checkpointing.

    Raises:
        CacheError: no usable cache.
        SettingsError: the recipe is of another network, ends by minutes, or has a precision that
            the device has not; hours are limited and no device sheet is named, or nothing fits.
    """
    budget = parse_budget(spec.budget)
    _check(spec.recipe, budget)
    device = pick_device(spec.device)
    name = spec.device_sheet or ("cpu" if device.type == "cpu" else "")
    training = spec.recipe.training
    # What another device than this one takes by default is on its sheet.
    elsewhere = bool(spec.device_sheet) and training.precision == "auto"
    batch = training.batch_size or open_cache(spec.cache).plan.batch_size
    choice = choose_within(
        budget,
        _networks(spec),
        batch,
        find_sheet(name) if name else None,
        training.batches,
        None if elsewhere else pick_dtype(training.precision, device),
        spec.recipe.model.operators != "stock" and (bool(name) or can_run(device)),
    )
    return AffordResult(_chosen(spec.recipe, choice.best), choice)


def _check(recipe: Recipe, budget: Budget) -> None:
    if recipe.model.network != DEFAULT_NETWORK:
        raise SettingsError(
            f"--budget chooses among MedNeXts, and the recipe's network is {recipe.model.network}",
            "Leave it out; mednext scale-report --networks tells what others take.",
        )
    if budget.hours is not None and recipe.training.minutes is not None:
        raise SettingsError(
            "the recipe ends by training.minutes, so every network takes the same hours",
            "Give --budget the memory alone.",
        )


def _networks(spec: AffordSpec) -> tuple[ReportedNetwork, ...]:
    """All sizes and kernels, each with the patch it would have."""
    plan, device = open_cache(spec.cache).plan, pick_device(spec.device)
    networks = []
    for size in VARIANTS:
        for kernel in _KERNELS:
            recipe = _sized(spec.recipe, size, kernel)
            chosen = choose_network(recipe.model)
            setup = Setup(recipe, chosen, plan, device)
            patch = setup.plan.patch_voxels
            networks.append(
                ReportedNetwork(chosen.label, setup.network, patch, False, size, kernel)
            )
    return tuple(networks)


def _sized(recipe: Recipe, size: str, kernel: int) -> Recipe:
    shape = dict.fromkeys(("encoder_kernel", "decoder_kernel", "expansion", "blocks"))
    values = {**recipe.model.table, **shape, "size": size, "kernel": kernel}
    table = MedNeXtSettings.model_validate(values).model_dump(mode="json", exclude_none=True)
    model = {**recipe.model.model_dump(mode="json"), DEFAULT_NETWORK: table}
    return recipe.model_copy(update={"model": ModelSettings.model_validate(model)})


def _chosen(recipe: Recipe, best: Candidate) -> Recipe:
    sized = _sized(recipe, best.model, best.kernel or _KERNELS[0])
    how: dict[str, object] = {"checkpointing": best.checkpointing}
    if best.operators == "fused":  # the memory and hours are theirs alone
        how["operators"] = best.operators
    model = sized.model.model_copy(update=how)
    changes = {"patch_voxels": best.patch_voxels, "batch_size": best.batch}
    training = recipe.training.model_copy(update=changes)
    return sized.model_copy(update={"model": model, "training": training})
