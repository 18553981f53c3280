"""The table `[training]` of a recipe."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mednext_cli.settings.sections import (
    HOW_IT_RUNS,
    IN_THE_PLAN,
    NO_RESULT,
    Choice,
    Count,
    CountOrZero,
    MayChange,
    NotNegative,
    NoTruth,
    OptimiserName,
    PathText,
    Positive,
    Precision,
    Probability,
    Section,
    Width,
)

_EXPONENT = 0.9


def _compiles(expression: str) -> str:
    try:
        re.compile(expression)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return expression


Schedule = Literal["poly", "cosine"]


class TrainingSettings(Section):
    """Optimisation, as published unless said otherwise (trainer of the MedNeXt repository).

    Attributes:
        epochs: how many; the learning rate falls to 0 over them (published).
        minutes: of steps and of waiting for their batches, validation and saving apart; where it is
            given the run ends with the first step after them, the learning rate falls to 0 over
            them, and `epochs` is not used. Left out, `epochs` decides (ours).
        iterations_per_epoch: steps an epoch (published).
        validation_iterations: batches of the check on patches after each epoch (published).
        batch_size: patches a step; left out, the plan's (published).
        patch_voxels: (D, H, W); left out, the plan's (published).
        optimiser: AdamW, or SGD with Nesterov's momentum, as nnU-Net has it (published: AdamW).
        learning_rate: of the first epoch (published).
        momentum: of SGD (published by nnU-Net).
        weight_decay: on all parameters (published).
        epsilon: of AdamW; left out, 1e-8, or 1e-4 under float16 (published: 1e-4).
        schedule: how the rate falls: as a power of what is left, or as half a cosine (published:
            poly).
        warmup_epochs: over which the rate rises first, in a straight line; with `minutes`, over the
            same share of them as these epochs are of `epochs` (published: none).
        poly_exponent: the rate falls as ``(1 - share) ** poly_exponent``, by the share of the
            epochs, or the minutes, that is over (published).
        gradient_clip: largest norm of the gradient (published).
        accumulate: batches whose gradients make one step together, for a batch that memory does not
            hold; Dice of the batch is then that of each part (ours).
        ema: weight of the past in a moving average of the weights over the steps, like 0.999; the
            average is then what is validated, predicted with and saved; left out, the weights of
            the last step are (published: none).
        patience: epochs without a better moving average of the patch Dice after which training
            ends, with the best weights; left out, it ends by its epochs or minutes alone, with
            the last ones (published: none).
        oversample_foreground: share of patches centred on a foreground voxel (published).
        precision: auto is bfloat16 or float16 on CUDA, float32 elsewhere; bfloat16 on a CPU with
            AVX512-BF16 or AMX where a block of the network is measured to be faster in it by a
            tenth (published: float16).
        folds: parts that the cases are split into; one of them validates (published).
        group_regex: a regular expression that finds the patient in a case's name, by its first
            group or else by all that it finds; scans of one patient stay in one fold; left out,
            each case is by itself (published).
        stratified: share the cases out so that every fold has about as many with each class (ours;
            published: at random).
        cases: how many of a fold's training cases are used, drawn by `seed`: the same for every
            network, and a smaller number's are among a larger one's; left out, all (ours).
        seed: of weights, patches and drawn `cases` (published: 12345, which the folds always have).
        workers: processes that prepare batches; left out, as many as suit the machine, 0 prepares
            them in the main process (ours).
        checkpoint_minutes: how much work a killed run may lose at most (ours).
        cuda_graph: replay a step as one CUDA graph, recorded after three steps, which spares the
            host's time for each operator and holds a step's memory for good; true says in a line
            where there can be none (on a CPU, with checkpointing or float16), auto takes it for
            MedNeXt, where a step took less than half the time, and says nothing (ours).
    """

    epochs: Annotated[Count, MayChange("--extend is asked for")] = 1000
    minutes: Positive | None = None
    iterations_per_epoch: Count = 250
    validation_iterations: CountOrZero = 50
    batch_size: Annotated[Width | None, IN_THE_PLAN] = None
    patch_voxels: Annotated[tuple[Width, Width, Width] | None, IN_THE_PLAN] = None
    optimiser: OptimiserName = "adamw"
    learning_rate: Positive = 1e-3
    momentum: Annotated[NotNegative, Field(lt=1.0)] = 0.99
    weight_decay: NotNegative = 3e-5
    epsilon: Positive | None = None
    schedule: Schedule = "poly"
    warmup_epochs: CountOrZero = 0
    poly_exponent: Annotated[NotNegative, Field(le=100.0)] = _EXPONENT
    gradient_clip: Positive = 12.0
    accumulate: Annotated[Count, Field(le=1024)] = 1
    ema: Annotated[Positive, Field(lt=1.0)] | None = None
    patience: Count | None = None
    oversample_foreground: Probability = 1 / 3
    precision: Precision = "auto"
    folds: Annotated[Count, Field(ge=2)] = 5
    group_regex: Annotated[PathText, AfterValidator(_compiles)] | None = None
    stratified: bool = False
    cases: Count | None = None
    seed: Annotated[int, NoTruth, Field(ge=0, lt=2**32)] = 12345
    workers: Annotated[Annotated[CountOrZero, Field(le=1024)] | None, NO_RESULT] = None
    checkpoint_minutes: Annotated[Positive, NO_RESULT] = 5.0
    cuda_graph: Annotated[Choice, HOW_IT_RUNS] = "auto"

    @model_validator(mode="after")
    def _refuse_what_nothing_heeds(self) -> Self:
        if self.optimiser == "sgd" and self.epsilon is not None:
            raise ValueError("epsilon is AdamW's, and the optimiser is sgd: leave it out")
        if self.schedule != "poly" and self.poly_exponent != _EXPONENT:
            raise ValueError("poly_exponent is of the schedule poly: leave it out")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs leave none of the {self.epochs} epochs for the rest")
        if self.patience is not None and not self.validation_iterations:
            raise ValueError("patience needs the Dice on patches: set validation_iterations")
        return self

    @property
    def warmup_share(self) -> float:
        """Of the schedule, in which the learning rate rises."""
        return self.warmup_epochs / self.epochs

    @property
    def batches(self) -> int:
        """Forward and backward passes of a run that ends by its epochs."""
        return self.epochs * self.iterations_per_epoch * self.accumulate
