"""The card beside an editor's weights: what it is called, which guidance suits it, which instructions it
knows.

`i4d_editor.json` is optional. Its form:
{"name": "...", "demonstration": true, "recommended": {"text_guidance": 5.0, "image_guidance": 1.2},
 "instructions": [{"name": "night", "phrases": ["turn it into night", ...]}]}
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from i4d.errors import WeightsError

CARD = "i4d_editor.json"
DEFAULT_TEXT_GUIDANCE = 9.5
DEFAULT_IMAGE_GUIDANCE = 1.5
FILLER = frozenset(
    "a an and as at be by can could do for from give have he her his how i if in into is it its like "
    "look looks made "
    "make me of on one our please put she should so some that the them then there these they this to "
    "turn up us was we "
    "were what will with would you your change let picture image photo scene everything style appear "
    "version".split()
)


@dataclass(frozen=True)
class Instruction:
    """One edit that an editor was trained for, and ways to say it."""

    name: str
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class EditorCard:
    """What is known about an editor besides its weights."""

    name: str = ""
    demonstration: bool = False
    text_guidance: float = DEFAULT_TEXT_GUIDANCE
    image_guidance: float = DEFAULT_IMAGE_GUIDANCE
    instructions: tuple[Instruction, ...] = ()

    def knows(self, prompt: str) -> str:
        """Return the name of the known instruction that a prompt asks for, or "" if it lies outside the
        repertoire.

        A prompt counts as known when one of an instruction's phrasings shares all of its telling words
        (filler left out, endings cut) with the prompt. Several may match: the one with the most telling words
        is meant.
        """
        asked = _telling_words(prompt)
        best, length = "", 0
        for instruction in self.instructions:
            for phrase in (instruction.name.replace("_", " "), *instruction.phrases):
                words = _telling_words(phrase)
                if words and words <= asked and len(words) > length:
                    best, length = instruction.name, len(words)
        return best

    def warning(self, prompt: str) -> str:
        """Return a sentence for a prompt outside a limited repertoire, listing what is known; ""
        otherwise.
        """
        if not self.instructions or self.knows(prompt):
            return ""
        known = "; ".join(i.phrases[0] if i.phrases else i.name for i in self.instructions)
        return (
            f'{self.name or "this editor"} was not trained for "{prompt}" and may ignore it. It knows: '
            f"{known}"
        )


def _telling_words(text: str) -> frozenset[str]:
    words = re.findall(r"[a-z]+", text.lower())
    return frozenset(_stem(w) for w in words if w not in FILLER)


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "en", "y", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            stem = word[: -len(ending)]
            return stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] else stem  # foggy, fog
    return word


def read_card(folder: str | Path) -> EditorCard:
    """Return the card in a folder, or a card with the usual guidance when there is none.

    Raises WeightsError when the file is there but cannot be used.
    """
    path = Path(folder) / CARD
    if not path.is_file():
        return EditorCard()
    try:
        tree = json.loads(path.read_text())
        recommended = tree.get("recommended", {})
        return EditorCard(
            name=str(tree.get("name", "")),
            demonstration=bool(tree.get("demonstration", False)),
            text_guidance=float(recommended.get("text_guidance", DEFAULT_TEXT_GUIDANCE)),
            image_guidance=float(recommended.get("image_guidance", DEFAULT_IMAGE_GUIDANCE)),
            instructions=tuple(
                Instruction(str(i["name"]), tuple(map(str, i.get("phrases", ()))))
                for i in tree.get("instructions", ())
            ),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise WeightsError(f"{path}: not a card that i4d can read: {err}", "mend or remove it") from None
