"""What TensorBoard shows of a patch: the same slice, reference left and prediction right."""

import torch

from mednext_cli.training.overlays import FixedSlices


def _masks(*places: tuple[int, int, int, int]) -> torch.Tensor:
    """Two regions in a patch of (4, 3, 5), with these voxels (k, d, h, w)."""
    masks = torch.zeros(1, 2, 4, 3, 5, dtype=torch.bool)
    for place in places:
        masks[(0, *place)] = True
    return masks


def test_the_slice_with_most_labels_is_drawn_with_both_sides_in_the_same_colours() -> None:
    images = torch.arange(60.0).view(1, 1, 4, 3, 5)
    present = _masks((0, 2, 1, 1), (1, 2, 0, 4), (0, 3, 0, 0))
    predicted = _masks((0, 2, 1, 2), *((1, 0, 0, w) for w in range(5)))
    slices = FixedSlices()
    slices.look(images, predicted, present)
    (drawing,) = slices.drawings
    assert drawing.shape == (3, 3, 10)
    coloured = (drawing.amax(0) - drawing.amin(0) > 0).nonzero().tolist()
    assert coloured == [[0, 4], [1, 1], [1, 5 + 2]]
    red, cyan = drawing[:, 1, 1], drawing[:, 0, 4]
    assert red[0] > red[1] == red[2]
    assert cyan[0] < cyan[1] == cyan[2]
    assert drawing[0, 0, 0] == 0  # what is not labelled is grey, from black to white
    assert drawing[0, 2, 4] == 1


def test_a_patch_of_one_intensity_and_no_label_is_drawn() -> None:
    slices = FixedSlices()
    for _ in range(5):
        slices.look(torch.ones(2, 1, 4, 3, 5), _masks(), _masks())
    assert len(slices.drawings) == 3
    assert all(drawing.isfinite().all() for drawing in slices.drawings)
