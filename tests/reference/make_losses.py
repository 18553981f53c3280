"""Losses of nnU-Net v2 and MONAI on random logits and labels, and their gradients."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.losses import FocalLoss, TverskyLoss
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.loss.robust_ce_loss import RobustCrossEntropyLoss
from torch import Tensor

CLASSES, IGNORED = 4, 4
SHAPE = (6, 5, 4)
WEIGHTS = (0.2, 1.0, 2.0, 0.7)
Loss = Callable[[Tensor], Tensor]


def _inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Logits (2, K, D, H, W), classes (2, 1, D, H, W), regions (2, R, D, H, W)."""
    random = np.random.RandomState(0)
    logits = torch.from_numpy(random.normal(0, 2, (2, CLASSES, *SHAPE)).astype(np.float32))
    labels = torch.from_numpy(random.randint(0, CLASSES, (2, 1, *SHAPE)))
    labels[0, 0, :2] = 0  # so that the patches differ in what they hold
    regions = torch.cat([labels >= 1, labels >= 2, labels == 3], dim=1)
    return logits, labels, regions.float()


def _nnunet(labels: Tensor, batch_dice: bool, ignore: int | None = None) -> Loss:
    loss = DC_and_CE_loss(
        {"batch_dice": batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": False},
        {},
        ignore_label=ignore,
        dice_class=MemoryEfficientSoftDiceLoss,
    )
    return lambda logits: loss(logits, labels)


def _nnunet_regions(regions: Tensor) -> Loss:
    loss = DC_and_BCE_loss(
        {},
        {"batch_dice": True, "smooth": 1e-5, "do_bg": True, "ddp": False},
        dice_class=MemoryEfficientSoftDiceLoss,
    )
    return lambda logits: loss(logits[:, :3], regions)


def _losses() -> dict[str, Loss]:
    _, labels, regions = _inputs()
    partly = labels.clone()
    partly[:, :, :, :2] = IGNORED
    weighted = RobustCrossEntropyLoss(weight=torch.tensor(WEIGHTS))
    tversky = {"include_background": False, "softmax": True, "to_onehot_y": True}
    focal, focal_of_regions = FocalLoss(to_onehot_y=True, use_softmax=True), FocalLoss()
    found: dict[str, Loss] = {
        "nnunet_sample": _nnunet(labels, batch_dice=False),
        "nnunet_batch": _nnunet(labels, batch_dice=True),
        "nnunet_ignore": _nnunet(partly, batch_dice=True, ignore=IGNORED),
        "nnunet_regions": _nnunet_regions(regions),
        "nnunet_class_weights": lambda logits: weighted(logits, labels[:, 0]),
        "monai_focal": lambda logits: focal(logits, labels),
        "monai_focal_regions": lambda logits: focal_of_regions(logits[:, :3], regions),
    }
    for batch in (False, True):
        index = TverskyLoss(
            alpha=0.3, beta=0.7, smooth_nr=1e-5, smooth_dr=1e-5, batch=batch, **tversky
        )
        found[f"monai_tversky_{'batch' if batch else 'sample'}"] = (
            lambda logits, index=index: index(logits, labels)  # type: ignore[misc]
        )
    return found


def main() -> None:
    """Write losses.npz: the inputs, and value and gradient of each loss."""
    logits, labels, _ = _inputs()
    content = {"logits": logits.numpy(), "labels": labels[:, 0].numpy().astype(np.uint8)}
    for name, loss in _losses().items():
        leaf = logits.clone().requires_grad_()
        value = loss(leaf)
        value.backward()
        assert leaf.grad is not None
        content[f"{name}/value"] = value.detach().numpy()
        content[f"{name}/gradient"] = leaf.grad.numpy()
    np.savez_compressed(Path(__file__).parent / "losses.npz", **content)


if __name__ == "__main__":
    main()
