"""What is as right as PyTorch's own operators, and what is not."""

import math

import torch

from mednext_cli.networks.mednext.kernels.measuring.checking import (
    fault,
    own_errors,
    relative_errors,
)

ROUNDING = {"output": 1e-7, "gradient": 1e-7}


def test_distances_are_relative_and_by_quantity():
    reference = {"output": torch.tensor([3.0, 4.0]), "gradient": torch.tensor([10.0])}
    found = {"output": torch.tensor([3.0, 4.5]), "gradient": torch.tensor([9.0])}
    errors = relative_errors(found, reference)
    assert math.isclose(errors["output"], 0.1, rel_tol=1e-6)
    assert math.isclose(errors["gradient"], 0.1, rel_tol=1e-6)


def test_what_was_not_written_or_has_another_shape_is_infinitely_far():
    reference = {"output": torch.ones(2)}
    for found in (torch.tensor([1.0, math.nan]), torch.tensor([math.inf, 1.0]), torch.ones(3)):
        assert relative_errors({"output": found}, reference)["output"] == math.inf


def test_twice_stocks_own_error_is_allowed_in_each_quantity():
    own = own_errors([{"output": 0.01, "gradient": 0.02}], ROUNDING)
    assert fault({"output": 0.019, "gradient": 0.039}, own) == ""
    assert fault({"output": 0.021, "gradient": 0.01}, own).startswith("output deviates by 0.021")
    assert fault({"output": 0.001, "gradient": 0.23}, own).startswith("gradient deviates by 0.23")
    assert fault({"output": math.inf, "gradient": 0.0}, own) != ""


def test_a_library_that_is_wrong_in_one_layout_is_not_the_measure_of_others():
    stock = [{"output": 0.5, "gradient": 0.01}, {"output": 0.01, "gradient": 0.01}]
    own = own_errors(stock, ROUNDING)
    assert fault(stock[0], own) != ""
    assert fault(stock[1], own) == ""


def test_stock_that_is_the_reference_itself_does_not_strike_out_other_roundings():
    own = own_errors([{"output": 0.0}], {"output": 1e-5})
    assert fault({"output": 1.5e-4}, own) == ""
    assert fault({"output": 3e-4}, own) != ""


def test_without_any_stock_nothing_can_be_trusted():
    assert "nothing to compare with" in fault({"output": 0.0}, own_errors([], ROUNDING))
