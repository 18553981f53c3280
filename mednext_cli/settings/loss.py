"""The table `[loss]` of a recipe."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from mednext_cli.settings.sections import Choice, NotNegative, Positive, RegisteredName, Section

_OF_OVERLAP = {"dice", "tversky"}
_OF_VOXELS = {"cross_entropy", "focal"}
_OWN = {"focal_gamma": ("focal", 2.0), "tversky_alpha": ("tversky", 0.3)}
_OWN |= {"tversky_beta": ("tversky", 0.7)}
_MOST_TERMS = 16


class LossSettings(Section):
    """The weighted sum of terms that training makes small, on every output of deep supervision.

    Attributes:
        terms: what is added up: `dice`, `cross_entropy`, `focal`, `tversky`, or another that
            `mednext plugins` lists (published: Dice and cross entropy).
        weights: a factor a term; left out, 1 for all (published).
        batch_dice: whether Dice and Tversky sum over the batch before they divide, or are taken of
            each patch; auto as the plan says (published).
        class_weights: of cross entropy and focal loss, a factor a class, background first, or a
            region; the mean is then weighted, as PyTorch's is; left out, all count alike
            (published).
        focal_gamma: how much less voxels count that are right already, as
            ``(1 - probability) ** focal_gamma``; 2 where nothing is said (published by Lin et al.,
            arXiv 1708.02002).
        tversky_alpha: factor of false positives where Dice has 0.5; 0.3 where nothing is said
            (published by Salehi et al., arXiv 1706.05721).
        tversky_beta: of false negatives; 0.7 where nothing is said (published by Salehi et al.).
    """

    terms: Annotated[tuple[RegisteredName, ...], Field(min_length=1, max_length=_MOST_TERMS)] = (
        "dice",
        "cross_entropy",
    )
    weights: tuple[Positive, ...] | None = None
    batch_dice: Choice = "auto"
    class_weights: Annotated[tuple[NotNegative, ...], Field(min_length=1)] | None = None
    focal_gamma: Annotated[NotNegative, Field(le=10.0)] | None = None
    tversky_alpha: Annotated[Positive, Field(le=10.0)] | None = None
    tversky_beta: Annotated[Positive, Field(le=10.0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: object) -> object:
        """A resolved recipe says what its terms are computed with."""
        terms = values.get("terms") if isinstance(values, Mapping) else None
        if not isinstance(values, Mapping) or not isinstance(terms, list | tuple):
            return values
        needed = {key: default for key, (term, default) in _OWN.items() if term in terms}
        given = {key: value for key, value in values.items() if value is not None}
        return {**needed, **given}

    @model_validator(mode="after")
    def _refuse_what_nothing_heeds(self) -> Self:
        terms = set(self.terms)
        if len(terms) != len(self.terms):
            raise ValueError("a term is named twice")
        if self.weights is not None and len(self.weights) != len(self.terms):
            raise ValueError(f"{len(self.weights)} weights are not one for each term")
        for key, (term, _) in _OWN.items():
            if getattr(self, key) is not None and term not in terms:
                raise ValueError(f"{key} is of {term}, which is no term: leave it out")
        if self.class_weights is not None and terms <= _OF_OVERLAP:
            raise ValueError("class_weights are of cross_entropy and focal, which are no terms")
        if self.class_weights is not None and not any(self.class_weights):
            raise ValueError("class_weights are all 0")
        if self.batch_dice != "auto" and terms <= _OF_VOXELS:
            raise ValueError("batch_dice is of dice and tversky, which are no terms")
        return self

    @property
    def weighted(self) -> dict[str, float]:
        """The factor of each term, by its name."""
        return dict(zip(self.terms, self.weights or (1.0,) * len(self.terms), strict=True))
