"""Shortcuts without values give what PyTorch gives: shapes, dtypes, strides and errors."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mednext_cli.networks.building import build_plain, run_all_heads
from mednext_cli.networks.shortcuts import Shortcuts
from tests.networks.small_networks import SMALL, small_spec


def _empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def _operators() -> dict[str, object]:
    image, turned = _empty(2, 4, 6, 5, 7), _empty(2, 6, 5, 7, 4).permute(0, 4, 1, 2, 3)
    rows, half, row, one = _empty(8, 4), _empty(8, 4, dtype=torch.bfloat16), _empty(4), _empty(8)
    weight, grown = _empty(4, 1, 3, 3, 3), _empty(4, 2, 3, 3, 3)
    return {
        "sum": lambda: image + image,
        "sum of orders": lambda: image + turned,
        "sum of the other order": lambda: turned + image,
        "sum of dtypes": lambda: rows + half,
        "sum of rows": lambda: half + row.bfloat16(),
        "sum into rows": lambda: row + rows,
        "sum in place": lambda: rows.add_(row),
        "product of columns": lambda: rows * one[:, None],
        "product with a number": lambda: half * 2.0,
        "quotient of numbers": lambda: _empty(3, dtype=torch.int64) / 2,
        "difference": lambda: turned - 1.0,
        "matrix and vector": lambda: torch.mv(rows, row),
        "plus matrix and vector": lambda: torch.addmv(one, rows, row),
        "plus matrices": lambda: torch.addmm(row, rows, _empty(4, 4)),
        "softmax": lambda: turned.log_softmax(1),
        "softmax of rows": lambda: rows.log_softmax(1),
        "layer norm": lambda: F.layer_norm(rows, (4,), row, row),
        "layer norm of half": lambda: torch.native_layer_norm(half, (4,), None, None, 1e-5),
        "layer norm of another order": lambda: F.layer_norm(turned.permute(0, 2, 3, 4, 1), (4,)),
        "batch norm": lambda: torch.native_batch_norm(image, row, row, row, row, True, 0.1, 1e-5),
        "batch norm, known": lambda: F.batch_norm(turned, row, row, row, row),
        "convolution": lambda: F.conv3d(image, weight, row, padding=1, groups=4),
        "strided": lambda: F.conv3d(turned, weight, stride=2, padding=(1, 0, 1), groups=4),
        "dilated": lambda: F.conv3d(image, weight, dilation=(2, 1, 3), padding=1, groups=4),
        "transposed": lambda: F.conv_transpose3d(image, grown, stride=2, output_padding=1),
        "transposed groups": lambda: F.conv_transpose3d(image, weight, groups=4, padding=1),
        "grown past the image": lambda: F.conv3d(_empty(1, 4, 2, 2, 2), weight, groups=4),
        "other channels": lambda: F.conv3d(image, _empty(4, 3, 1, 1, 1)),
        "vectors that do not fit": lambda: torch.addmv(one, rows, one),
        "matrices that do not fit": lambda: torch.addmm(row, rows, rows),
        "shapes that do not fit": lambda: image + _empty(2, 4, 6, 5, 6),
        "shapes that do not fit in place": lambda: rows.mul_(_empty(3)),
    }


def _said(work: object) -> object:
    """What comes of it, told by what memory and strides are."""
    assert callable(work)
    try:
        made = work()
    except (RuntimeError, ValueError, IndexError) as error:
        return type(error).__name__, str(error)
    made = made if isinstance(made, tuple) else (made,)
    return [(one.shape, one.dtype, one.stride()) for one in made]


@pytest.mark.parametrize("name", _operators())
def test_operators_give_what_pytorch_gives(name: str) -> None:
    work = _operators()[name]
    with torch.no_grad():
        known = _said(work)
        with Shortcuts():
            assert _said(work) == known


@pytest.mark.parametrize("name", sorted(SMALL))
def test_networks_give_what_pytorch_gives(name: str) -> None:
    """Forward and backward, every head and every gradient."""
    spec = small_spec(name)
    if not spec.family.runs_without_memory:
        pytest.skip("it is not run without memory")

    def step() -> tuple[Tensor, ...]:
        with torch.device("meta"):
            network = build_plain(spec).train()
        images = _empty(2, spec.in_channels, *SMALL[name].patch)
        outputs = run_all_heads(network, images, spec)
        torch.stack([one.square().mean() for one in outputs]).sum().backward()
        gradients = (one.grad for one in network.parameters())
        return (*outputs, *(one for one in gradients if one is not None))

    known = [(one.shape, one.dtype) for one in step()]
    with Shortcuts():
        assert [(one.shape, one.dtype) for one in step()] == known


def test_blocks_are_found_without_the_compiler() -> None:
    """Every prediction on a CPU that multiplies in bfloat16 begins with them."""
    code = (
        "import sys, torch;"
        "from mednext_cli.networks.mednext.kernels.measuring.shapes import find_blocks;"
        "from mednext_cli.networks.workload import Workload;"
        "from tests.networks.made import mednext;"
        "work = Workload(network=mednext('S', 3, 1, 3, base_channels=4), batch=1, training=False,"
        " patch_voxels=(16, 32, 16), device=torch.device('cpu'), dtype=torch.float32);"
        "assert find_blocks(work);"
        "print(*({'torch._dynamo', 'sympy', 'triton'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
