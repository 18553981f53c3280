"""A checkpoint without its optimiser's state as a safetensors file, which mednext reads back."""

from pathlib import Path

from mednext_cli.exporting.facts import as_texts, describe_model
from mednext_cli.foundation.files import replacing
from mednext_cli.inference.models import Model
from mednext_cli.networks.building import hash_weights
from mednext_cli.networks.checkpoint import describe_checkpoint, load_checkpoint
from mednext_cli.networks.safetensors_files import write_safetensors

SUFFIX = ".safetensors"


def write(model: Model, path: Path) -> str:
    """Write it, and read it back before it is kept.

    Returns:
        What was checked.

    Raises:
        StorageError: the disk refuses.
    """
    weights = model.checkpoint.state_dict
    # Transformers' readers ask for the framework under this name.
    facts = {"format": "pt", **as_texts(describe_model(model))}
    with replacing(path) as beside:
        write_safetensors(beside, weights, describe_checkpoint(model.checkpoint), facts)
        found = load_checkpoint(beside)
        if hash_weights(found.state_dict) != hash_weights(weights):
            raise RuntimeError(f"{path}: the weights that were read back are others")
    return f"{len(weights)} tensors read back, bit for bit the same"
