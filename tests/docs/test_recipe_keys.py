"""docs/recipe_keys.md says of every key what it means and where its default comes from."""

from mednext_cli.foundation.plugins import find_plugins
from mednext_cli.networks.recipes import network_keys
from mednext_cli.settings.callbacks import callback_settings
from mednext_cli.settings.recipe import recipe_fields
from tests.contracts.conftest import ROOT


def test_every_key_has_a_meaning_and_a_source() -> None:
    """Both stand in the docstring of the key's section: ``key: meaning (source).``"""
    page = (ROOT / "docs" / "recipe_keys.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows if len(row) != 5 or not all(map(str.strip, row))] == []
    named = [key.rpartition(".")[2] for key in recipe_fields() if "." in key]
    networks = [name for name, plugin in find_plugins("networks").items() if plugin.built_in]
    named += [key for network in networks for key in network_keys(network)]
    callbacks = [name for name, plugin in find_plugins("callbacks").items() if plugin.built_in]
    named += [key for name in callbacks for key in callback_settings(name).model_fields]
    assert sorted(row[0].strip("`") for row in rows) == sorted(named)
