"""Names of structures as codes: SNOMED CT where it is known, else a scheme of our own.

Only names of pydicom's own dictionary of SNOMED CT stand in the tables, so that no number is
copied by hand. Which of them a name means follows TotalSegmentator's published mapping where that
has it. Source: DICOM PS3.16 CID 7150 (categories), CID 244 (laterality).
"""

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mednext_cli.volumes.formats.dicom_objects import text

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

SCHEME = "99MEDNEXT"
SCHEME_NAME = "mednext: structures as their dataset names them"
_LONGEST_VALUE = 16  # characters of a code (SH)
_SIDED = {
    "adrenal_gland": "AdrenalGland",
    "amygdala": "Amygdala",
    "breast": "Breast",
    "caudate": "CaudateNucleus",
    "clavicle": "Clavicle",
    "clavicula": "Clavicle",
    "common_carotid_artery": "CommonCarotidArtery",
    "eye": "Eye",
    "femur": "Femur",
    "globus_pallidus": "GlobusPallidus",
    "hip": "Hip",
    "hippocampus": "Hippocampus",
    "humerus": "Humerus",
    "iliac_artery": "CommonIliacArtery",
    "iliac_vena": "CommonIliacVein",
    "kidney": "Kidney",
    "lung": "Lung",
    "lung_lower_lobe": "LowerLobeOfLung",
    "lung_upper_lobe": "UpperLobeOfLung",
    "optic_nerve": "OpticNerve",
    "parotid_gland": "ParotidGland",
    "putamen": "Putamen",
    "scapula": "Scapula",
    "subclavian_artery": "SubclavianArtery",
    "submandibular_gland": "SubmandibularGland",
    "thalamus": "Thalamus",
}
_WHOLE = {
    "aorta": "Aorta",
    "bladder": "Bladder",
    "brain": "Brain",
    "brain_stem": "BrainStem",
    "brainstem": "BrainStem",
    "cerebellum": "Cerebellum",
    "colon": "Colon",
    "duodenum": "Duodenum",
    "esophagus": "Esophagus",
    "gall_bladder": "Gallbladder",
    "gallbladder": "Gallbladder",
    "heart": "Heart",
    "heart_atrium_left": "LeftAtrium",
    "heart_atrium_right": "RightAtrium",
    "heart_ventricle_left": "LeftVentricle",
    "heart_ventricle_right": "RightVentricle",
    "hepatic_vein": "HepaticVein",
    "inferior_vena_cava": "InferiorVenaCava",
    "left_atrium": "LeftAtrium",
    "left_ventricle": "LeftVentricle",
    "liver": "Liver",
    "lung_middle_lobe_right": "MiddleLobeOfRightLung",
    "mandible": "Mandible",
    "oesophagus": "Esophagus",
    "optic_chiasm": "OpticChiasm",
    "pancreas": "Pancreas",
    "portal_vein": "PortalVein",
    "postcava": "InferiorVenaCava",
    "prostate": "Prostate",
    "pulmonary_artery": "PulmonaryArtery",
    "pulmonary_vein": "PulmonaryVein",
    "right_atrium": "RightAtrium",
    "right_ventricle": "RightVentricle",
    "sacrum": "Sacrum",
    "skull": "Skull",
    "small_bowel": "SmallIntestine",
    "spinal_cord": "SpinalCord",
    "spleen": "Spleen",
    "splenic_vein": "SplenicVein",
    "sternum": "Sternum",
    "stomach": "Stomach",
    "superior_vena_cava": "SuperiorVenaCava",
    "thyroid_gland": "Thyroid",
    "trachea": "Trachea",
    "urinary_bladder": "Bladder",
    "uterus": "Uterus",
}
_ABNORMAL = {
    "cyst": "Cyst",
    "edema": "Edema",
    "lesion": "Lesion",
    "necrosis": "Necrosis",
    "neoplasm": "Neoplasm",
    "nodule": "Nodule",
    "oedema": "Edema",
    "tumor": "Neoplasm",
    "tumour": "Neoplasm",
}
_SIDE = re.compile(r"(?P<before>left|right)_(?P<rest>.+)|(?P<name>.+)_(?P<after>left|right)")
_VERTEBRA = re.compile(r"vertebrae?_([ctl]\d{1,2})")


@dataclass(frozen=True)
class Coding:
    """What a structure is.

    Attributes:
        category: tissue, anatomical structure, ...
        kind: what it is.
        side: left or right, where the kind leaves it open.
    """

    category: "Code"
    kind: "Code"
    side: "Code | None" = None


def code_of(name: str) -> Coding:
    """The codes of a structure, by its name."""
    from pydicom.sr.codedict import codes

    plain = "_".join(re.findall(r"\w+", name.lower().replace("_", " ")))  # of any alphabet
    category, keyword, side = _find(plain)
    kind = getattr(codes.SCT, keyword, None) if keyword else None
    if kind is None:
        own = _own(name)
        return Coding(own, own)
    laterality = getattr(codes.SCT, side) if side else None
    return Coding(getattr(codes.SCT, category), kind, laterality)


def _find(name: str) -> tuple[str, str, str]:
    """Keywords of category, kind and side; empty where there is none."""
    if name in _ABNORMAL:
        return "MorphologicallyAbnormalStructure", _ABNORMAL[name], ""
    anatomical = "AnatomicalStructure"
    if vertebra := _VERTEBRA.fullmatch(name):
        return anatomical, f"{vertebra[1].upper()}Vertebra", ""
    if name in _WHOLE or name in _SIDED:
        return anatomical, {**_WHOLE, **_SIDED}[name], ""
    if match := _SIDE.fullmatch(name):
        side = match["before"] or match["after"]
        return anatomical, _SIDED.get(match["rest"] or match["name"], ""), side.capitalize()
    return anatomical, "", ""


def _own(name: str) -> "Code":
    """A code of our own: the name, or what is short enough and as unique."""
    from pydicom.sr.coding import Code

    value = name
    if len(name) > _LONGEST_VALUE or not name.isascii() or not name.isprintable() or "\\" in name:
        value = hashlib.sha256(name.encode()).hexdigest()[:_LONGEST_VALUE]
    return Code(value, SCHEME, text(name))
