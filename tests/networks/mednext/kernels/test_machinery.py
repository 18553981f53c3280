"""The operators inside PyTorch's own machinery: export and DistributedDataParallel."""

import copy

import pytest
import torch

from mednext_cli.networks.mednext.kernels import DepthwiseConv3d
from tests.process_groups import distribute, group_of_one


def _module_and_image(device):
    torch.manual_seed(0)
    module = DepthwiseConv3d(2, 3, operators="fused").to(device)
    return module, torch.randn(1, 2, 3, 4, 5, device=device)


@pytest.mark.slow
def test_exports_as_one_operator(device):
    module, image = _module_and_image(device)
    program = torch.export.export(module, (image,))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert any("mednext.depthwise" in name for name in called)
    assert not any("convolution" in name or "conv3d" in name for name in called)
    torch.testing.assert_close(program.module()(image), module(image))


@pytest.mark.slow
def test_distributed_gradients_are_those_of_one_process(device):
    alone, image = _module_and_image(device)
    with group_of_one():
        together = distribute(copy.deepcopy(alone))
        for module in (alone, together):
            module(image).square().sum().backward()
    pairs = zip(alone.parameters(), together.module.parameters(), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine.grad, theirs.grad)
