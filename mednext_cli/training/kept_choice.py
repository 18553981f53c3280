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


def choice_file(runs: Path, spec: AffordSpec) -> Path:
    """``RUNS/NAME/budget-....toml``, another one for each recipe, plan, budget and kind of device.

    Raises:
        CacheError: no usable cache.
        SettingsError: there is no such device.
    """
    plan = open_cache(spec.cache).plan
    recipe = flatten(spec.recipe.model_dump(mode="json"))
    asked = {
        "recipe": {key: value for key, value in recipe.items() if not is_resultless(key)},
        "plan": plan.model_dump(mode="json"),
        "budget": "".join(spec.budget.split()).lower(),
        "device_sheet": spec.device_sheet,
        "device": pick_device(spec.device).type,
    }
    text = json.dumps(asked, sort_keys=True)
    return runs / plan.dataset / f"budget-{hashlib.sha256(text.encode()).hexdigest()[:12]}.toml"


def find_choice(path: Path) -> Recipe | None:
    """The recipe that an earlier call chose; None where there was none.

    Raises:
        SettingsError: the file is damaged.
    """
    return load_recipe(str(path)) if path.is_file() else None


def keep_choice(path: Path, recipe: Recipe, budget: str) -> None:
    """Keep the recipe that was chosen.

    Raises:
        StorageError: the disk refuses.
    """
    write_recipe(path, recipe, (f"The largest that --budget {json.dumps(budget)} affords here.",))
