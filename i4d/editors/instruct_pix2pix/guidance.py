"""Guidance of InstructPix2Pix: which branches of the network are evaluated, and how they are weighed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Guidance:
    """Three-way guidance of InstructPix2Pix, eq. 3: e_0 + s_I (e_I - e_0) + s_T (e_TI - e_I).

    Written as a weighted sum, so that branches of weight zero need not be evaluated: at s_I = 1 the
    unconditional branch drops out, at s_T = s_I = 1 only the full one is left.
    """

    text: float
    image: float

    @property
    def weights(self) -> dict[str, float]:
        """Return the branches to evaluate with their weights, in batch order."""
        weights = {"text_image": self.text, "image": self.image - self.text, "none": 1.0 - self.image}
        return {name: weight for name, weight in weights.items() if weight != 0.0}
