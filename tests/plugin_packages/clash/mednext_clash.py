"""A package that takes names that are taken."""

raise AssertionError("a refused plugin is never imported")
