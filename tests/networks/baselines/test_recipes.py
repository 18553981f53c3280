"""What the recipes of the baselines, and the paper's comparisons of them, train with."""

import pytest

from mednext_cli.experiments.arms import resolve_arms
from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.networks.registry import family_names
from mednext_cli.settings.experiment_files import load_experiment
from mednext_cli.settings.recipe_files import find_recipes, recipe_for

# Optimiser, rate and momentum, and whether there are heads on lower resolutions.
PUBLISHED = {
    "nnformer": ("adamw", 5e-5, False),
    "nnformer_synapse": ("sgd", 1e-2, True),
    "nnunet": ("sgd", 1e-2, True),
    "nnunet_resenc": ("sgd", 1e-2, True),
    "nnunet_resenc_l": ("sgd", 1e-2, True),
    "nnunet_resenc_m": ("sgd", 1e-2, True),
    "nnunet_resenc_xl": ("sgd", 1e-2, True),
    "swin_unetr": ("adamw", 1e-4, False),
    "transbts": ("adamw", 1e-4, False),
    "transunet": ("sgd", 1e-2, True),
    "transunet_2d": ("adamw", 1e-4, False),
    "unetr": ("adamw", 1e-4, False),
    "uxnet": ("adamw", 5e-4, False),
}
PAPER = [name for name in find_recipes() if name.startswith("paper/")]


def test_every_baseline_has_a_recipe_of_its_own():
    assert {f"baselines/{name}" for name in PUBLISHED} == {
        name for name in find_recipes() if name.startswith("baselines/")
    }
    for name in family_names():
        assert recipe_for(name) == ("mednext" if name == "mednext" else f"baselines/{name}")


@pytest.mark.parametrize("name", PUBLISHED)
def test_optimiser_and_rate_are_the_published_ones(name):
    recipe = load_recipe(f"baselines/{name}")
    training, (optimiser, rate, deep) = recipe.training, PUBLISHED[name]
    assert (training.optimiser, training.learning_rate) == (optimiser, rate)
    assert choose_network(recipe.model).deep_supervision is deep
    if optimiser == "sgd":
        assert training.momentum == 0.99
    else:  # as MedNeXt's trainer has it for all
        assert (training.epsilon, training.weight_decay) == (1e-4, 3e-5)


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_comparison_supervises_nnunet_and_mednext_alone_deeply(name):
    arms = resolve_arms(load_experiment(name), name)
    chosen = {arm: choose_network(found.recipe.model) for arm, found in arms.items()}
    families = {network.family.name for network in chosen.values()}
    assert len(families) == 8  # seven baselines
    for arm, network in chosen.items():
        expected = network.family.name in ("mednext", "nnunet")
        assert network.deep_supervision is expected, arm
    assert all(arms[arm].recipe.training.epochs == 1000 for arm in arms)


def test_there_are_four_comparisons_of_the_paper():
    assert len(PAPER) == 4
