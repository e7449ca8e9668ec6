"""Sentences for every edit of the repertoire: wordings to train on, wordings held out, and the way back from
a sentence.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from i4d.scenes.repertoire.objects import OBJECTS
from i4d.scenes.repertoire.pictures import PAINTERLY, WHOLE

# Phrases complete "make it look like ..." and stand alone. The last of each row is held out of training.
LOOKS: dict[str, tuple[str, ...]] = {
    "sepia": (
        "a sepia photograph",
        "sepia",
        "an old sepia print",
        "a picture in sepia tones",
        "a faded sepia postcard",
    ),
    "black_and_white": (
        "a black and white photograph",
        "black and white",
        "a black and white film",
        "a black and white picture",
        "an old movie in black and white",
    ),
    "night": ("night", "a night scene", "a dark night", "it is night time", "the middle of the night"),
    "sunset": (
        "sunset",
        "a sunset scene",
        "the light of a sunset",
        "it is lit by the sunset",
        "a warm evening sunset",
    ),
    "snow": ("snow", "a snowy scene", "it is covered in snow", "a snowy winter day", "fresh snow has fallen"),
    "fog": ("fog", "a foggy day", "thick fog", "it is full of fog", "a foggy morning"),
    "autumn": (
        "autumn",
        "an autumn day",
        "the colours of autumn",
        "autumn leaves everywhere",
        "a late autumn afternoon",
    ),
    "van_gogh": (
        "a van gogh painting",
        "a painting by van gogh",
        "van gogh",
        "it was painted by van gogh",
        "a canvas of vincent van gogh",
    ),
    "watercolour": (
        "a watercolour painting",
        "a watercolour",
        "it was painted in watercolour",
        "a watercolor",
        "a soft watercolour on paper",
    ),
    "pencil_sketch": (
        "a pencil sketch",
        "a pencil drawing",
        "it was drawn in pencil",
        "a sketch in pencil",
        "a quick sketch with a pencil",
    ),
    "cartoon": (
        "a cartoon",
        "a cartoon drawing",
        "it is a cartoon",
        "a cartoon film",
        "a frame of a children's cartoon",
    ),
}
LOOK_TEMPLATES = (
    "make it look like {}",
    "make it {}",
    "turn it into {}",
    "what if it was {}?",
    "what if {}?",
    "{}",
    "give it the look of {}",
    "change the picture to {}",
    "as {}",
    "in the style of {}",
    "make the scene look like {}",
    "{} please",
    "transform this into {}",
    "show it as {}",
    "i want {}",
)
HELD_OUT_LOOK_TEMPLATES = (
    "could you make this video look like {}?",
    "let it become {}",
    "render everything as {}",
)

COATS: dict[str, tuple[str, ...]] = {
    "ball_gold": ("gold", "golden", "made of gold", "solid gold"),
    "ball_blue": ("blue", "bright blue", "a blue one", "deep blue"),
    "box_wooden": ("wooden", "wood", "made of wood", "out of wood"),
    "box_red": ("red", "bright red", "a red one", "deep red"),
    "cone_purple": ("purple", "bright purple", "a purple one", "deep purple"),
    "cone_green": ("green", "bright green", "a green one", "deep green"),
    "pillar_marble": ("marble", "made of marble", "white marble", "out of marble"),
    "pillar_orange": ("orange", "bright orange", "an orange one", "deep orange"),
}
COAT_TEMPLATES = (
    "turn the {o} {c}",
    "make the {o} {c}",
    "make the {o} look {c}",
    "what if the {o} was {c}?",
    "change the {o} to {c}",
    "the {o} is {c}",
    "paint the {o} {c}",
    "a {c} {o}",
    "the {o} should be {c}",
    "turn the {o} into {c}",
    "i want the {o} {c}",
)
HELD_OUT_COAT_TEMPLATES = (
    "please turn that {o} {c}",
    "could you make the {o} {c}?",
    "let the {o} become {c}",
)
FILLERS = ("please", "now", "really", "a bit more", "in this video", "for me", "the whole scene", "kindly")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"

EDITS: tuple[str, ...] = (*WHOLE, *PAINTERLY, *OBJECTS)
_KEYWORDS: dict[str, tuple[str, ...]] = {
    "black_and_white": ("black and white",),
    "snow": ("snow", "snowy"),
    "fog": ("fog", "foggy"),
    "van_gogh": ("van gogh",),
    "watercolour": ("watercolour", "watercolor"),
    "pencil_sketch": ("pencil", "sketch"),
    "ball_gold": ("ball gold", "ball golden"),
    "box_wooden": ("box wooden", "box wood"),
}


@dataclass(frozen=True)
class Wordings:
    """All sentences of one edit."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]


def wordings(edit: str) -> Wordings:
    """Return every training sentence and every held-out sentence of an edit (held-out template or held-out
    phrase).
    """
    if edit in LOOKS:
        *known, last = LOOKS[edit]
        fill = lambda templates, words: tuple(t.format(w) for t in templates for w in words)
        return Wordings(
            fill(LOOK_TEMPLATES, known),
            fill(HELD_OUT_LOOK_TEMPLATES, (*known, last)) + fill(LOOK_TEMPLATES, (last,)),
        )
    solid = OBJECTS[edit][0]
    *known, last = COATS[edit]
    fill = lambda templates, words: tuple(t.format(o=solid, c=w) for t in templates for w in words)
    return Wordings(
        fill(COAT_TEMPLATES, known),
        fill(HELD_OUT_COAT_TEMPLATES, (*known, last)) + fill(COAT_TEMPLATES, (last,)),
    )


def _units(sentence: str, edit: str) -> list[tuple[str, bool]]:
    """Split a sentence into words and the names that must stay whole; True marks what the meaning hangs
    on.
    """
    keys = _KEYWORDS.get(edit, (edit.replace("_", " "),))
    if edit in OBJECTS:
        keys = tuple(
            {word for words in COATS[edit] for word in words.split()}
            - {"a", "an", "of", "one", "made", "out", "bright", "deep"}
        )
        keys += (OBJECTS[edit][0],)
    marked = re.sub(
        "|".join(rf"\b{re.escape(k)}\b" for k in sorted(keys, key=len, reverse=True)),
        lambda m: f"\0{m[0]}\0",
        sentence,
    )
    units = []
    for i, part in enumerate(marked.split("\0")):
        units += [(part, True)] if i % 2 else [(word, False) for word in part.split()]
    return units


def stray_words() -> list[str]:
    """Return the words of all training sentences that no edit's meaning hangs on."""
    return sorted(
        {w for e in EDITS for s in wordings(e).training for w, key in _units(s, e) if not key} | set(FILLERS)
    )


def varied(sentence: str, edit: str, rng: random.Random, stray: list[str]) -> str:
    """Return a training sentence as somebody else might put it: words dropped, words of other sentences and
    words that do not exist put in between, an odd capital; the words that name the edit stay. So a model
    learns to read for those.
    """
    units = [u for u in _units(sentence, edit) if u[1] or rng.random() > 0.12]
    words = [w for w, _ in units]
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        odd = "".join(rng.choice(_LETTERS) for _ in range(rng.randint(2, 8)))
        words.insert(rng.randint(0, len(words)), rng.choice(stray) if rng.random() < 0.5 else odd)
    text = " ".join(words)
    return text.capitalize() if rng.random() < 0.3 else text


def edit_named_by(sentence: str) -> str | None:
    """Return the edit that a sentence asks for, or None when it is outside the repertoire or names two."""
    words = " ".join(re.findall(r"[a-z]+", sentence.lower()))
    found = []
    for edit in EDITS:
        keys = _KEYWORDS.get(edit, (edit.replace("_", " "),))
        if any(
            all(re.search(rf"\b{part}\b", words) for part in (key.split() if edit in OBJECTS else [key]))
            for key in keys
        ):
            found.append(edit)
    return found[0] if len(found) == 1 else None
