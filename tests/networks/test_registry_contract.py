"""What holds for the networks of every registered family."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mednext_cli.app import main
from mednext_cli.networks.building import build_plain, run_all_heads
from mednext_cli.networks.checkpoint import (
    Checkpoint,
    build_network,
    load_checkpoint,
    save_checkpoint,
)
from mednext_cli.networks.published import export_weights
from mednext_cli.networks.registry import family_names, plain
from mednext_cli.networks.spec import NetworkSpec
from tests.networks.small_networks import SMALL, family_of, small_image, small_spec

every_family = pytest.mark.parametrize("name", sorted(SMALL))


def _built(spec: NetworkSpec) -> nn.Module:
    torch.manual_seed(5)
    return build_plain(spec)


def _backward(network: nn.Module, spec: NetworkSpec, images: Tensor) -> list[Tensor]:
    """Outputs of a step in training whose loss weights every logit differently."""
    torch.manual_seed(6)  # of dropout
    outputs = run_all_heads(network.train(), images, spec)
    generator = torch.Generator().manual_seed(8)
    loss = sum((one * torch.randn(one.shape, generator=generator)).sum() for one in outputs)
    assert isinstance(loss, Tensor)
    loss.backward()  # type: ignore[no-untyped-call]
    return [one.detach() for one in outputs]


def test_every_family_is_tested() -> None:
    assert set(family_names()) == {family_of(name).name for name in SMALL}


def test_families_load_no_torch() -> None:
    code = (
        "import sys; from mednext_cli.networks.registry import family_names, find_family;"
        "[find_family(name) for name in family_names()];"
        "print([name for name in ('torch', 'monai') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@every_family
def test_settings_come_back_from_plain_values(name: str) -> None:
    spec = small_spec(name)
    settings = spec.settings
    assert type(settings).model_validate(plain(settings)) == settings
    assert hash(spec) == hash(small_spec(name))


@every_family
@pytest.mark.parametrize("channels", [1, 2])
def test_logits_have_the_size_of_the_patch(name: str, channels: int) -> None:
    spec = small_spec(name, channels)
    assert spec.patch_rule.problem(SMALL[name].patch) == ""
    with torch.no_grad():
        logits = _built(spec).eval()(small_image(name, channels))
    assert logits.shape == (2, 3, *SMALL[name].patch)
    assert logits.isfinite().all()


@every_family
def test_heads_are_ordered_from_full_resolution_down(name: str) -> None:
    if not family_of(name).deep_supervision:
        pytest.skip("it has no heads on lower resolutions")
    spec = small_spec(name, deep_supervision=True)
    network, images = _built(spec).eval(), small_image(name)
    with torch.no_grad():
        outputs = run_all_heads(network, images, spec)
        torch.testing.assert_close(network(images), outputs[0])
    assert all(one.shape[:2] == (2, 3) for one in outputs)
    voxels = [one.shape[2:].numel() for one in outputs]
    assert voxels[0] == images.shape[2:].numel()
    assert voxels == sorted(set(voxels), reverse=True)
    assert len(voxels) > 1


@every_family
def test_heads_come_and_go_with_their_weights(name: str) -> None:
    family = family_of(name)
    if not family.deep_supervision:
        pytest.skip("it has no heads on lower resolutions")
    deep, flat = (
        _built(small_spec(name, deep_supervision=on)).state_dict() for on in (True, False)
    )
    surplus = deep.keys() - flat.keys()
    assert surplus
    assert all(weight.startswith(family.auxiliary_weights) for weight in surplus)
    assert not flat.keys() - deep.keys()


@every_family
@pytest.mark.parametrize("deep_supervision", [True, False])
def test_gradients_reach_every_weight_that_is_used(name: str, deep_supervision: bool) -> None:
    family = family_of(name)
    if deep_supervision and not family.deep_supervision:
        pytest.skip("it has no heads on lower resolutions")
    spec = small_spec(name, deep_supervision=deep_supervision)
    network = _built(spec)
    _backward(network, spec, small_image(name))
    unreached = {key for key, weights in network.named_parameters() if weights.grad is None}
    unused = {key for key, _ in network.named_parameters() if key.startswith(family.unused_weights)}
    assert unreached == unused


@every_family
def test_computing_again_changes_nothing(name: str) -> None:
    spec, images = small_spec(name), small_image(name)
    assert spec.family.recomputes
    kept = _built(spec)
    again = copy.deepcopy(kept)
    spec.family.set_checkpointing(again, True)
    for one, other in zip(
        _backward(kept, spec, images), _backward(again, spec, images), strict=True
    ):
        assert torch.equal(one, other)
    gradients = [{key: one.grad for key, one in net.named_parameters()} for net in (kept, again)]
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient)
    for key, buffer in kept.named_buffers():
        assert torch.equal(again.get_buffer(key), buffer), key


@every_family
def test_a_checkpoint_gives_the_same_network(name: str, tmp_path: Path) -> None:
    spec, images = small_spec(name, 2), small_image(name, 2)
    network = _built(spec).eval()
    save_checkpoint(tmp_path / "saved.pt", Checkpoint(spec, network.state_dict()))
    checkpoint = load_checkpoint(tmp_path / "saved.pt")
    assert checkpoint.network == spec
    with torch.no_grad():
        assert torch.equal(build_network(checkpoint)(images), network(images))


@every_family
@pytest.mark.parametrize("axes", [0, 1])
def test_published_weights_of_other_shapes_are_refused(
    name: str, axes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if SMALL[name].family:
        pytest.skip("the published code has no such network")
    spec, path = small_spec(name), tmp_path / "published.pt"
    published = export_weights(path, Checkpoint(spec, _built(spec).state_dict()))
    flat = {key: weights.flatten() for key, weights in published.items()}
    torch.save({key: weights if axes else weights[0] for key, weights in flat.items()}, path)
    command = ["weights", "import", str(path), "--network", name]
    assert main([*command, "--out", str(tmp_path / "ours.pt")]) == 2
    said = capsys.readouterr().err
    assert "these are not weights of" in said
    assert said.count("\n") == 1


@every_family
def test_upkern_is_refused_where_no_kernel_grows(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, path = small_spec(name), tmp_path / "saved.pt"
    if spec.kernels:
        pytest.skip("its kernels grow")
    save_checkpoint(path, Checkpoint(spec, _built(spec).state_dict()))
    assert main(["upkern", "--from", str(path), "--to", "k5"]) == 2
    said = capsys.readouterr().err
    assert f"network {spec.family.label(spec.settings)} has no kernels to enlarge" in said
    assert said.count("\n") == 1
    assert [one.name for one in tmp_path.iterdir()] == ["saved.pt"]


@pytest.mark.slow
@every_family
def test_half_precision_is_finite(name: str) -> None:
    spec = small_spec(name)
    network = _built(spec)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = _backward(network, spec, small_image(name))
    assert all(one.isfinite().all() for one in outputs)
    gradients = [one.grad for one in network.parameters() if one.grad is not None]
    assert gradients
    if spec.family.trains_in_bfloat16_on_cpus:  # others are refused there
        assert all(gradient.isfinite().all() for gradient in gradients)


@every_family
def test_it_is_built_and_run_without_memory(name: str) -> None:
    spec = small_spec(name)
    assert spec.family.runs_without_memory
    with torch.device("meta"):
        network = build_plain(spec)
        outputs = run_all_heads(network, torch.empty(1, 1, *SMALL[name].patch), spec)
    assert all(one.is_meta for one in outputs)
    assert outputs[0].shape == (1, 3, *SMALL[name].patch)
    shapes = {key: one.shape for key, one in network.state_dict().items()}
    assert shapes == {key: one.shape for key, one in _built(spec).state_dict().items()}


@pytest.mark.slow
@every_family
def test_it_is_compiled_as_one_graph(name: str) -> None:
    spec, images = small_spec(name), small_image(name).double()
    network = _built(spec).eval().double()  # norms of small variances magnify rounding
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), network(images))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")  # PyTorch's own
@every_family
def test_it_is_exported_in_basic_operators(name: str) -> None:
    """What every way to another program begins with, ONNX among them."""
    spec, images = small_spec(name), small_image(name)
    exported = torch.export.export(_built(spec).eval(), (images,)).run_decompositions()
    assert {node.op for node in exported.graph.nodes} == {"placeholder", "call_function", "output"}
