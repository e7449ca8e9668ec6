"""A kind of editor that i4d has never heard of: it draws pictures towards a colour that the sentence names,
or towards what it made of the anchor.
"""

import torch

from i4d.editors.base import BaseEditor, BaseKind

COLOURS = {"red": (1.0, 0.2, 0.2), "blue": (0.2, 0.2, 1.0)}


class Remembered:
    size_bytes = 12

    def __init__(self, colour):
        self.colour = colour


class Tint(BaseEditor):
    def remember(self, original, edited, strength, settings, seed, cost, conditions=None):
        return Remembered(edited.mean((2, 3), keepdim=True))

    def repaint(
        self,
        originals,
        current,
        strength,
        settings,
        seeds,
        cost,
        *,
        memory=None,
        conditions=None,
        region=None,
    ):
        cost.unet_forwards += len(current)
        named = [rgb for name, rgb in COLOURS.items() if name in settings.instruction.lower()]
        colour = torch.tensor((named or [(0.5, 0.5, 0.5)])[0]).view(1, 3, 1, 1).to(current)
        edited = 0.6 * current + 0.4 * (colour if memory is None else memory.colour)
        return edited if region is None else originals + region * (edited - originals)


class Kind(BaseKind):
    name = "tint"

    def notices(self, place, card, sentence):
        return ("a tint knows red and blue",)

    def load(self, place, device, config):
        return Tint("tint", device)

    def predicted_bytes(self, place, config, call):
        return 12 * call.frames * call.width * call.height


KIND = Kind()
