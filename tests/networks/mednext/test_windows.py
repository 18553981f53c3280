"""Windows: a map goes in and comes out, and who sees whom is decided by place alone."""

from itertools import product

import pytest
import torch

from mednext_cli.networks.mednext.windows import Windows

SIZES = [(8, 4, 12), (4, 6, 4), (5, 3, 7), (2, 3, 2), (1, 2, 9), (6, 5), (8, 3)]
every_cut = pytest.mark.parametrize(
    ("sizes", "edge", "shifted"), list(product(SIZES, (2, 3, 4), (False, True)))
)


def seen(sizes, edge, shifted):
    """(voxels, voxels): True where the row's voxel sees the column's, said in the plainest way."""
    axes = []
    for size in sizes:
        window = min(size, edge)
        shift = edge // 2 if shifted and size > edge else 0
        axes.append((torch.arange(size) - shift).div(window, rounding_mode="floor"))
    owner = torch.cartesian_prod(*axes)
    return (owner[:, None] == owner[None]).all(-1)


@every_cut
def test_what_is_cut_is_put_together_again(sizes, edge, shifted):
    windows, x = Windows.of(sizes, edge, shifted), torch.randn(2, *sizes, 3)
    laid = windows.lay(x)
    boxes = []
    for box in windows.boxes():
        part = laid[(slice(None), *box.parts)]
        boxes.append(windows.merge(windows.split(part), part.shape[:-1]))
    assert torch.equal(windows.join(boxes), laid)
    assert torch.equal(windows.lift(windows.join(boxes)), x)


@every_cut
def test_voxels_see_their_own_window_and_nothing_beyond_the_map(sizes, edge, shifted):
    windows, voxels = Windows.of(sizes, edge, shifted), torch.Size(sizes).numel()
    laid = windows.lay(torch.arange(1, voxels + 1).reshape(1, *sizes, 1))  # 0 lies beyond
    found = torch.zeros(voxels + 1, voxels + 1, dtype=torch.bool)
    for box in windows.boxes():
        hidden = box.hidden(laid.device)
        for places in windows.split(laid[(slice(None), *box.parts)]).squeeze(-1):
            count = len(places)
            visible = torch.ones(count, count, dtype=torch.bool) if hidden is None else ~hidden
            assert visible.diagonal().all()
            found[places.repeat_interleave(count), places.repeat(count)] |= visible.flatten()
    assert torch.equal(found[1:, 1:], seen(sizes, edge, shifted))
    assert not found[0, 1:].any()
    assert not found[1:, 0].any()


def test_rows_of_a_smaller_window_are_those_of_the_same_offsets():
    small = Windows.of((2, 3, 2), 4, True).rows(4, torch.device("cpu"))
    places = torch.cartesian_prod(*map(torch.arange, (2, 3, 2)))
    for (one, query), (other, key) in product(enumerate(places), repeat=2):
        z, y, x = (query - key + 3).tolist()
        assert small[one, other] == z * 49 + y * 7 + x
