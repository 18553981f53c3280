"""How UpKern makes a large kernel of a small one; `networks.upkern` says what each way does."""

from typing import Literal

Growth = Literal["trilinear", "centre", "nearest"]
GROWTH: Growth = "trilinear"  # as published
