"""Terms of the loss against nnU-Net's and MONAI's (losses.npz), and their limits."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mednext_cli.settings.loss import LossSettings
from mednext_cli.training.loss import SegmentationLoss
from tests.places import COMMITTED

CLASSES, IGNORED = 4, 4
REGIONS = ((1, 2, 3), (2, 3), (3,))
WEIGHTS = (0.2, 1.0, 2.0, 0.7)
Known = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def known() -> Known:
    with np.load(COMMITTED / "losses.npz") as file:
        return dict(file)


def _logits(known: Known) -> Tensor:
    return torch.from_numpy(known["logits"]).requires_grad_()


def _labels(known: Known) -> Tensor:
    return torch.from_numpy(known["labels"]).clone()


def _loss(regions: tuple[tuple[int, ...], ...] = (), **settings: object) -> SegmentationLoss:
    chosen = LossSettings.model_validate(settings)
    return SegmentationLoss(regions, IGNORED, batch_dice=chosen.batch_dice is True, settings=chosen)


def _agrees(
    known: Known, name: str, value: Tensor, logits: Tensor, times: float = 1.0, plus: float = 0.0
) -> None:
    """Whether value and gradient are the peer's, `times` and `plus` what they define otherwise."""
    assert value.item() == pytest.approx(times * float(known[f"{name}/value"]) + plus, abs=2e-6)
    value.backward()
    assert logits.grad is not None
    expected = times * torch.from_numpy(known[f"{name}/gradient"])
    assert torch.allclose(logits.grad, expected, atol=2e-7, rtol=1e-4)


@pytest.mark.parametrize(("name", "batch"), [("sample", False), ("batch", True)])
def test_dice_and_cross_entropy_are_nnunets(known: Known, name: str, batch: bool) -> None:
    logits = _logits(known)
    value = _loss(batch_dice=batch)([logits], _labels(known))
    _agrees(known, f"nnunet_{name}", value, logits)


def test_ignored_voxels_are_left_out_as_nnunet_does(known: Known) -> None:
    logits, labels = _logits(known), _labels(known)
    labels[:, :, :2] = IGNORED
    _agrees(known, "nnunet_ignore", _loss(batch_dice=True)([logits], labels), logits)


def test_regions_are_nnunets(known: Known) -> None:
    logits = _logits(known)
    value = _loss(REGIONS, batch_dice=True)([logits[:, :3]], _labels(known))
    _agrees(known, "nnunet_regions", value, logits)


def test_class_weights_are_nnunets(known: Known) -> None:
    logits = _logits(known)
    value = _loss(terms=["cross_entropy"], class_weights=WEIGHTS)([logits], _labels(known))
    _agrees(known, "nnunet_class_weights", value, logits)


def test_focal_loss_is_monais_summed_over_the_classes(known: Known) -> None:
    logits = _logits(known)
    value = _loss(terms=["focal"])([logits], _labels(known))
    _agrees(known, "monai_focal", value, logits, times=CLASSES)  # MONAI takes the mean over them


def test_focal_loss_of_regions_is_monais(known: Known) -> None:
    logits = _logits(known)
    value = _loss(REGIONS, terms=["focal"])([logits[:, :3]], _labels(known))
    _agrees(known, "monai_focal_regions", value, logits)


@pytest.mark.parametrize(("name", "batch"), [("sample", False), ("batch", True)])
def test_tversky_is_monais(known: Known, name: str, batch: bool) -> None:
    logits = _logits(known)
    value = _loss(terms=["tversky"], batch_dice=batch)([logits], _labels(known))
    _agrees(known, f"monai_tversky_{name}", value, logits, plus=-1.0)  # MONAI's is 1 - index


def test_tversky_of_equal_factors_is_dice(known: Known) -> None:
    logits, labels = _logits(known), _labels(known)
    equal = _loss(terms=["tversky"], tversky_alpha=0.5, tversky_beta=0.5)([logits], labels)
    assert equal.item() == pytest.approx(_loss(terms=["dice"])([logits], labels).item(), abs=1e-6)


@pytest.mark.parametrize("regions", [(), REGIONS])
@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 4.0)])
def test_focal_loss_without_fading_is_cross_entropy(
    known: Known, regions: tuple[tuple[int, ...], ...], weights: tuple[float, ...] | None
) -> None:
    logits, labels = _logits(known)[:, :3], _labels(known).clamp(max=2)
    labels[0, :, :, 0] = IGNORED
    losses = [
        _loss(regions, terms=[name], class_weights=weights, **options)([logits], labels)
        for name, options in (("cross_entropy", {}), ("focal", {"focal_gamma": 0.0}))
    ]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_certain_voxels_has_a_finite_gradient(gamma: float) -> None:
    for regions in ((), ((1,), (1, 2))):
        logits = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1, 1).requires_grad_()
        for label in (0, 1):
            logits.grad = None
            labels = torch.full((1, 1, 1, 1), label, dtype=torch.uint8)
            _loss(regions, terms=["focal"], focal_gamma=gamma)([logits], labels).backward()
            assert logits.grad is not None
            assert logits.grad.isfinite().all()


def test_terms_are_weighted(known: Known) -> None:
    logits, labels = _logits(known), _labels(known)
    dice, entropy = (
        _loss(terms=[name])([logits], labels).item() for name in ("dice", "cross_entropy")
    )
    both = _loss(terms=["dice", "cross_entropy"], weights=[0.5, 3.0])([logits], labels)
    assert both.item() == pytest.approx(0.5 * dice + 3 * entropy, rel=1e-6)
    assert _loss()([logits], labels).item() == pytest.approx(dice + entropy, rel=1e-6)


def test_a_batch_that_nobody_annotated_costs_nothing(known: Known) -> None:
    logits = _logits(known)
    labels = torch.full_like(_labels(known), IGNORED)
    for terms in (["cross_entropy"], ["focal"]):
        for weights in (None, WEIGHTS):
            value = _loss(terms=terms, class_weights=weights)([logits], labels)
            assert value.item() == 0
