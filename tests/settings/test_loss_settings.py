"""The table `[loss]`: complete, and without what nothing heeds."""

import pytest
from pydantic import ValidationError

from mednext_cli.settings.loss import LossSettings


def test_what_a_term_is_computed_with_is_said() -> None:
    plain = LossSettings()
    assert plain.weighted == {"dice": 1.0, "cross_entropy": 1.0}
    assert (plain.focal_gamma, plain.tversky_alpha, plain.tversky_beta) == (None, None, None)
    both = LossSettings.model_validate({"terms": ["tversky", "focal"], "tversky_beta": 0.6})
    assert (both.focal_gamma, both.tversky_alpha, both.tversky_beta) == (2.0, 0.3, 0.6)
    assert LossSettings.model_validate(both.model_dump(mode="json")) == both


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"terms": []}, "at least 1 item"),
        ({"terms": ["dice", "dice"]}, "named twice"),
        ({"weights": [1.0]}, "1 weights are not one for each term"),
        ({"weights": [1.0, 0.0]}, "greater than 0"),
        ({"focal_gamma": 2.0}, "focal_gamma is of focal, which is no term"),
        ({"terms": ["focal"], "tversky_alpha": 0.5}, "tversky_alpha is of tversky"),
        ({"terms": ["dice"], "class_weights": [1, 2]}, "class_weights are of cross_entropy"),
        ({"class_weights": [0, 0]}, "class_weights are all 0"),
        ({"class_weights": [1, -1]}, "greater than or equal to 0"),
        ({"terms": ["focal"], "batch_dice": True}, "batch_dice is of dice and tversky"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        LossSettings.model_validate(values)
