"""What a budget was found to afford, kept beside the runs: a later call goes on with that network.

On a CPU hours are measured, so that a call could choose another network than the one it is to go on
with.
"""

import hashlib
import json
from pathlib import Path

from mednext_cli.cache.reader import open_cache
from mednext_cli.foundation.devices import pick_device
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.settings.flat import flatten
from mednext_cli.settings.recipe import Recipe, is_resultless
from mednext_cli.settings.recipe_files import write_recipe
from mednext_cli.training.afford import AffordSpec

_DECISIVE = "model.operators"  # no result depends on them, but what a step takes does


def choice_file(runs: Path, spec: AffordSpec) -> Path:
    """``RUNS/NAME/budget-....toml``, another one for each recipe, plan, budget and kind of device.

    Raises:
        CacheError: no usable cache.
        SettingsError: there is no such device.
    """
    plan = open_cache(spec.cache).plan
    recipe = flatten(spec.recipe.model_dump(mode="json"))
    asked = {
        "recipe": {
            key: value
            for key, value in recipe.items()
            if not is_resultless(key) or key == _DECISIVE
        },
        "plan": plan.model_dump(mode="json"),
        "budget": "".join(spec.budget.split()).lower(),
        "device_sheet": spec.device_sheet,
        "device": pick_device(spec.device).type,
    }
    text = json.dumps(asked, sort_keys=True)
    return runs / plan.dataset / f"budget-{hashlib.sha256(text.encode()).hexdigest()[:12]}.toml"


def find_choice(path: Path, recipe: Recipe) -> Recipe | None:
    """The recipe with what an earlier call chose for it; None where there was none.

    Args:
        path: see `choice_file`.
        recipe: as it is asked for now: workers, callbacks and the like may be others than then.

    Raises:
        SettingsError: the file is damaged.
    """
    if not path.is_file():
        return None
    kept = load_recipe(str(path))
    sizes = {name: getattr(kept.training, name) for name in ("patch_voxels", "batch_size")}
    training = recipe.training.model_copy(update=sizes)
    return recipe.model_copy(update={"model": kept.model, "training": training})


def keep_choice(path: Path, recipe: Recipe, budget: str) -> None:
    """Keep the recipe that was chosen.

    Raises:
        StorageError: the disk refuses.
    """
    write_recipe(path, recipe, (f"The largest that --budget {json.dumps(budget)} affords here.",))
