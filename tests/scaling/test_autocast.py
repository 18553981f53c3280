"""Autocast without memory against PyTorch's own on the CPU."""

import pytest
import torch
from torch import Tensor, nn

from mednext_cli.networks.building import build_plain
from mednext_cli.networks.mednext.cpu import left_to_pytorch
from mednext_cli.scaling.autocast import AutocastAs
from tests.networks.small_networks import SMALL, small_image, small_spec


def _types(network: nn.Module, image: Tensor) -> list[torch.dtype]:
    """Of what every module inside gives."""
    found: list[torch.dtype] = []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            found.append(output.dtype)

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    with torch.no_grad():
        network(image)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("name", ["mednext", "nnunet", "unetr", "uxnet"])
def test_each_module_gives_the_type_that_it_gives_on_a_cpu(name: str) -> None:
    spec = small_spec(name)
    with left_to_pytorch(), torch.autocast("cpu", torch.bfloat16):
        real = _types(build_plain(spec).eval(), small_image(name))
    with torch.device("meta"):
        network = build_plain(spec).eval()
        image = torch.empty(2, 1, *SMALL[name].patch)
    with AutocastAs("cpu", torch.bfloat16):
        told = _types(network, image)
    assert told == real
    assert torch.bfloat16 in told


def test_on_a_gpu_norms_are_float32() -> None:
    image = torch.empty(1, 2, 4, 4, 4, device="meta", dtype=torch.bfloat16)
    norm = nn.GroupNorm(2, 2, device="meta")
    for device_type, dtype in (("cuda", torch.float32), ("cpu", torch.bfloat16)):
        with AutocastAs(device_type, torch.bfloat16):
            assert norm(image).dtype is dtype
