"""Settings that can be, where a test needs some and their values do not matter."""

from mednext_cli.settings.fingerprint import Fingerprint
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import ChannelNormalisation, Plan

PLAN = Plan(
    dataset="Blobs",
    layout="msd",
    spacing_mm=(1.0, 1.0, 1.0),
    patch_voxels=(16, 32, 16),
    batch_size=2,
    channels=("MRI",),
    normalisation=(ChannelNormalisation(scheme="z_score"),),
    label_set=LabelSet({"organ": 1}, {"organ": (1,)}),
)
FINGERPRINT = Fingerprint(
    cases=2,
    median_shape=(70.0, 20.0, 130.0),
    median_spacing_mm=(1.0, 1.0, 1.0),
    cropping_ratio=1.0,
    intensities=({},),
)
