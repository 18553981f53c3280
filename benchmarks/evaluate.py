"""Scoring against the published packages: surfaces, a whole folder, many classes, memory.

python benchmarks/evaluate.py ../shared/data --peers .venv-peers/bin/python

Everything is measured in one run on one machine; a peer runs in its own environment and times its
own calls on the arrays that we time ours on. What surface-distance and MONAI are compared with:
all surface scores (surface Dice at 1 mm, mean distance both ways, HD95, HD100) of kidney with
tumour and of tumour, one process, arrays in memory.
"""

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

_REGIONS = ((1, 2), (2,))
_TOLERANCE_MM = 1.0
_PACKAGES = ("mednext", "numpy", "scipy", "edt", "torch", "surface-distance", "monai")


def main() -> None:
    """Measure every claim and write a row each."""
    options = _options()
    if options.measure:
        measured = _MEASURES[options.measure](options.place)
        print(json.dumps({**measured, "versions": _versions()}))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = list(_claims(options, Path(folder)))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="scoring against the published packages")
    parser.add_argument("place", type=Path, help="folder of the data sets")
    parser.add_argument("--peers", type=Path, help="Python with surface-distance")
    parser.add_argument("--monai", type=Path, help="Python with MONAI, if another")
    parser.add_argument("--cases", type=int, default=12, help="KiTS19 masks, smallest first")
    parser.add_argument("--monai-cases", type=int, default=12, help="of these, for MONAI")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/evaluate.csv"))
    parser.add_argument("--measure", choices=sorted(_MEASURES), help=argparse.SUPPRESS)
    return parser.parse_args()


def _claims(options: argparse.Namespace, folder: Path):  # noqa: ANN202
    kidneys = _write_kidneys(options.place / "kits19_labels", folder, options.cases)
    peers = (
        ("surface-distance", options.peers, kidneys, 4.0),
        ("monai", options.monai or options.peers, kidneys[: options.monai_cases], 10.0),
    )
    for name, python, cases, least in peers:
        place = folder / name
        place.mkdir()
        for case in cases:
            (place / case.name).symlink_to(case)
        ours = _run(Path(sys.executable), "mednext", place)
        theirs = _run(python, name, place) if python else None
        ratio = theirs["seconds"] / ours["seconds"] if theirs else float("nan")
        yield _row(f"surfaces of {len(cases)} KiTS19 masks, times {name}", ratio, f">= {least}",
                   ratio >= least, ours, theirs)  # fmt: skip
    for name, claim in (("folder", _folder_claim), ("classes", _classes_claim)):
        yield claim(_run(Path(sys.executable), name, options.place))
    largest = _write_largest(options.place / "kits19_labels", folder / "largest")
    found = _run(Path(sys.executable), "memory", largest)
    bar = 5 * found["voxels"] / 2**20 + 200
    yield _row("peak memory of a worker, MiB", found["peak_mib"], f"<= {bar:.0f}",
               found["peak_mib"] <= bar, found)  # fmt: skip


def _folder_claim(found: dict) -> dict[str, object]:
    seconds = found["seconds"]
    return _row("220 hippocampus pairs, 2 workers, s", seconds, "<= 8", seconds <= 8, found)


def _classes_claim(found: dict) -> dict[str, object]:
    """Time per foreground voxel with all classes, over that with a quarter of them."""
    few, many = found["steps"][0], found["steps"][-1]
    growth = (many["seconds"] / many["foreground"]) / (few["seconds"] / few["foreground"])
    text = f"{few['classes']} to {many['classes']} classes: time per foreground voxel grows by"
    return _row(text, growth, "<= 1.5", growth <= 1.5, found)


def _row(claim: str, value: float, bar: str, holds: bool, ours: dict, theirs: dict | None = None):  # noqa: ANN202
    print(f"{claim}: {value:.3g} (bar {bar}: {'holds' if holds else 'MISSED'})", flush=True)
    versions = ours["versions"] | (theirs["versions"] if theirs else {})
    return {
        "claim": claim,
        "value": value,
        "bar": bar,
        "holds": int(holds),
        "seconds_mednext": ours.get("seconds", ""),
        "seconds_peer": theirs["seconds"] if theirs else "",
        "details": json.dumps(ours.get("steps", "")),
        "load_average": os.getloadavg()[0],
        "cores": len(os.sched_getaffinity(0)),
        "machine": f"{platform.machine()} {platform.system()} Python {platform.python_version()}",
        "versions": " ".join(f"{name}={text}" for name, text in versions.items()),
    }


def _run(python: Path, measure: str, place: Path) -> dict:
    """Measure in a process of its own: the peer's environment, or ours."""
    command = [str(python), __file__, str(place), "--measure", measure]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(ended.stdout.splitlines()[-1])


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _perturb(array: np.ndarray, seed: int) -> np.ndarray:
    """A copy moved by up to two voxels, with a box of it lost."""
    random = np.random.default_rng(seed)
    moved = np.roll(array, tuple(random.integers(-2, 3, 3)), axis=(0, 1, 2))
    centre = np.argwhere(moved)[random.integers(np.count_nonzero(moved))]
    moved[tuple(slice(max(0, c - 3), c + 4) for c in centre)] = 0
    return moved


def _write_kidneys(data: Path, folder: Path, count: int) -> list[Path]:
    import nibabel as nib

    sources = sorted(data.glob("case_*/segmentation.nii.gz"),
                     key=lambda path: nib.load(path).shape[0])[:count]  # fmt: skip
    written = []
    for seed, source in enumerate(sources):
        image = nib.load(source)
        array = np.ascontiguousarray(np.asarray(image.dataobj).astype(np.uint8))
        path = folder / f"{source.parent.name}.npz"
        spacing_mm = np.linalg.norm(image.affine[:3, :3], axis=0)
        np.savez(path, reference=array, prediction=_perturb(array, seed), spacing_mm=spacing_mm)
        written.append(path)
    return written


def _write_largest(data: Path, folder: Path) -> Path:
    import nibabel as nib

    source = max(data.glob("case_*/segmentation.nii.gz"), key=lambda p: nib.load(p).shape[0])
    image = nib.load(source)
    folder.mkdir()
    array = np.asarray(image.dataobj).astype(np.uint8)
    nib.save(nib.Nifti1Image(array, image.affine), folder / "reference.nii.gz")
    nib.save(nib.Nifti1Image(_perturb(array, 0), image.affine), folder / "prediction.nii.gz")
    return folder


def _time_kidneys(place: Path, score: Callable[..., None]) -> dict:
    """Sum over cases of the better of two runs."""
    seconds = 0.0
    for path in sorted(place.glob("*.npz")):
        with np.load(path) as arrays:
            case = arrays["reference"], arrays["prediction"]
            spacing_mm = tuple(map(float, arrays["spacing_mm"]))
        times = []
        for _ in range(2):
            started = time.perf_counter()
            score(*case, spacing_mm)
            times.append(time.perf_counter() - started)
        seconds += min(times)
    return {"seconds": seconds}


def _measure_mednext(place: Path) -> dict:
    from mednext_cli.evaluation.metrics.overlap import map_classes
    from mednext_cli.evaluation.metrics.surface_distances import compute_surface_distances

    def score(reference, prediction, spacing_mm):  # noqa: ANN001, ANN202
        maps = map_classes(reference, prediction)
        for values in _REGIONS:
            found = compute_surface_distances(*maps.masks(values), spacing_mm)
            found.surface_dice(_TOLERANCE_MM), found.mean_mm
            found.hausdorff_mm(95), found.hausdorff_mm(100)

    return _time_kidneys(place, score)


def _measure_surface_distance(place: Path) -> dict:
    import surface_distance as sd

    def score(reference, prediction, spacing_mm):  # noqa: ANN001, ANN202
        for values in _REGIONS:
            found = sd.compute_surface_distances(
                np.isin(reference, values), np.isin(prediction, values), spacing_mm
            )
            sd.compute_surface_dice_at_tolerance(found, _TOLERANCE_MM)
            sd.compute_average_surface_distance(found)
            for percent in (95, 100):
                sd.compute_robust_hausdorff(found, percent)

    return _time_kidneys(place, score)


def _measure_monai(place: Path) -> dict:
    import monai.metrics as mm
    import torch

    torch.set_num_threads(1)

    def score(reference, prediction, spacing_mm):  # noqa: ANN001, ANN202
        masks = [
            torch.from_numpy(np.stack([np.isin(array, values) for values in _REGIONS])[None])
            for array in (prediction, reference)
        ]
        given = {"include_background": True, "spacing": spacing_mm}
        mm.compute_surface_dice(*masks, [_TOLERANCE_MM] * 2, use_subvoxels=True, **given)
        mm.compute_average_surface_distance(*masks, symmetric=True, **given)
        for percent in (95, 100):
            mm.compute_hausdorff_distance(*masks, percentile=percent, **given)

    return _time_kidneys(place, score)


def _measure_folder(place: Path) -> dict:
    import nibabel as nib

    labels = place / "Task04_Hippocampus" / "labelsTr"
    with tempfile.TemporaryDirectory() as folder:
        for seed, path in enumerate(sorted(labels.glob("*.nii.gz"))):
            image = nib.load(path)
            array = _perturb(np.asarray(image.dataobj).astype(np.uint8), seed)
            nib.save(nib.Nifti1Image(array, image.affine), Path(folder) / path.name)
        main = "import sys; from mednext_cli.app import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", main, "evaluate", folder, str(labels), "--lesions", "iou",
                   "--workers", "2", "--quiet"]  # fmt: skip
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return {"seconds": time.perf_counter() - started}


def _measure_classes(place: Path) -> dict:
    """A CT's organs at 1.5 mm, with ever more of them kept, those of the most voxels last."""
    import nibabel as nib
    from nibabel.processing import resample_to_output

    from mednext_cli.evaluation.metrics.overlap import map_classes
    from mednext_cli.evaluation.scoring.scores import RegionOfCase, ScoreSettings, score_region

    image = nib.load(place / "totalsegmentator_ct" / "example_seg.nii.gz")
    whole = nib.Nifti1Image(np.asarray(image.dataobj).astype(np.uint8), image.affine)
    array = np.asarray(resample_to_output(whole, (1.5,) * 3, order=0).dataobj).astype(np.uint8)
    values = np.random.default_rng(0).permutation(np.unique(array)[1:])
    steps = []
    for share in (4, 2, 1):
        kept = values[: len(values) // share]
        reference = np.where(np.isin(array, kept), array, 0).astype(np.uint8)
        prediction = _perturb(reference, 0)
        started = time.perf_counter()
        maps = map_classes(reference, prediction)
        for value in kept:
            place_of = RegionOfCase("ct", str(value))
            score_region(place_of, maps, (int(value),), (1.5,) * 3, ScoreSettings())
        seconds = time.perf_counter() - started
        steps.append({"classes": len(kept), "foreground": int(np.count_nonzero(reference)),
                      "voxels": array.size, "seconds": seconds})  # fmt: skip
    return {"steps": steps, "seconds": steps[-1]["seconds"]}


def _measure_memory(place: Path) -> dict:
    import nibabel as nib

    from mednext_cli.evaluation.scoring.score_case import CasePair, score_case
    from mednext_cli.evaluation.scoring.scores import ScoreSettings

    paths = place / "reference.nii.gz", place / "prediction.nii.gz"
    score_case(CasePair("case", *paths), ScoreSettings(lesions="iou"))
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_mib": peak_kib / 1024, "voxels": int(np.prod(nib.load(paths[0]).shape))}


_MEASURES = {
    "mednext": _measure_mednext,
    "surface-distance": _measure_surface_distance,
    "monai": _measure_monai,
    "folder": _measure_folder,
    "classes": _measure_classes,
    "memory": _measure_memory,
}

if __name__ == "__main__":
    main()
