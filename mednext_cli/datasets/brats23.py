"""BraTS 2023 and 2024: other names than before, and the enhancing tumour is label 3.

Sources: Synapse syn51156910 (2023), syn53708249 (2024). Gliomas, meningiomas, metastases and the
African gliomas have the same names and labels. The gliomas of 2024 were seen after treatment and
have a fourth label, the resection cavity, so that they are a layout of their own.
"""

from mednext_cli.datasets.brats21 import BratsLayout
from mednext_cli.settings.labels import LabelSet

LABELS_2023 = LabelSet(
    names={"necrosis": 1, "oedema": 2, "enhancing_tumour": 3},
    regions={"whole_tumour": (1, 2, 3), "tumour_core": (1, 3), "enhancing_tumour": (3,)},
    strangers={
        4: "In the gliomas of BraTS 2024 label 4 is the resection cavity: give --dataset brats24."
    },
)
LABELS_2024 = LabelSet(
    names={**LABELS_2023.names, "resection_cavity": 4},
    regions={**LABELS_2023.regions, "resection_cavity": (4,)},
)


def _layout(
    name: str, example: str, labels: LabelSet, region_values: tuple[int, ...]
) -> BratsLayout:
    return BratsLayout(
        name=name,
        example=example,
        folders=r"BraTS-[A-Z]+-\d{5}-\d{3}",
        joint="-",
        sequences=("t1n", "t1c", "t2w", "t2f"),
        labels=labels,
        region_values=region_values,
    )


BRATS23 = _layout("brats23", "BraTS-GLI-00000-000", LABELS_2023, (2, 1, 3))
BRATS24 = _layout("brats24", "BraTS-GLI-02063-100", LABELS_2024, (2, 1, 3, 4))
