"""Edits of one object by name: a new material for one solid of a procedural world, rendered again, so the
answer is exact.
"""

from __future__ import annotations

import dataclasses

import torch

from i4d.scenes.procedural.world import KINDS, MARBLE, PLAIN, WOOD, Material, World, material

# name: (solid, first colour, second colour, pattern, scale, metal)
OBJECTS: dict[str, tuple] = {
    "ball_gold": ("ball", (1.0, 0.76, 0.22), None, PLAIN, 1.0, 0.85),
    "ball_blue": ("ball", (0.12, 0.26, 0.85), None, PLAIN, 1.0, 0.0),
    "box_wooden": ("box", (0.60, 0.38, 0.20), (0.44, 0.26, 0.12), WOOD, 0.5, 0.0),
    "box_red": ("box", (0.84, 0.12, 0.10), None, PLAIN, 1.0, 0.0),
    "cone_purple": ("cone", (0.50, 0.15, 0.68), None, PLAIN, 1.0, 0.0),
    "cone_green": ("cone", (0.13, 0.62, 0.22), None, PLAIN, 1.0, 0.0),
    "pillar_marble": ("pillar", (0.93, 0.92, 0.90), (0.74, 0.74, 0.77), MARBLE, 0.7, 0.0),
    "pillar_orange": ("pillar", (0.96, 0.50, 0.08), None, PLAIN, 1.0, 0.0),
}


def solid_of(edit: str) -> int:
    """Return the index of the solid that an object edit changes."""
    return KINDS.index(OBJECTS[edit][0])


def edited_material(solids: Material, edit: str) -> Material:
    """Return the solids' materials (B, K) after an object edit."""
    kind, first, second, pattern, scale, metal = OBJECTS[edit]
    B, device = solids.first.shape[0], solids.first.device
    colour = torch.tensor(first, device=device).expand(B, 3)
    other = torch.tensor(second, device=device).expand(B, 3) if second else None
    return solids.replaced(KINDS.index(kind), material(colour, other, pattern, scale, metal))


def edited_world(world: World, edit: str) -> World:
    """Return a world after an object edit."""
    return dataclasses.replace(world, solids=edited_material(world.solids, edit))
