"""Sentences longer than a text encoder reads: what is lost of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

FEWEST_TOKENS = 77  # of the text encoders of InstructPix2Pix; a token takes a byte at least


def lost_words(tokenizer: Any, prompt: str) -> str:
    """Return the end of a prompt that a CLIP tokenizer cuts off, from the first word that does not fit whole;
    "" where all fits.
    """
    room = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
    spans = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    spans = spans["offset_mapping"]
    if len(spans) <= room:
        return ""
    cut = spans[room][0]
    while cut > 0 and not prompt[cut - 1].isspace():  # a word of which a part is read is lost as a word
        cut -= 1
    return prompt[cut:]


def notice(lost: str) -> str:
    """Return the words about what is lost, "" where nothing is."""
    return f'the sentence is longer than the text encoder reads; it does not see: "{lost}"' if lost else ""


def notice_of(place: str, prompt: str) -> str:
    """Return what is lost of a prompt in words, "" where nothing is, or where the editor's tokenizer is not
    on this machine: its worker tells then (`warn`).
    """
    if len(prompt.encode()) <= FEWEST_TOKENS - 2:
        return ""
    from transformers import CLIPTokenizer

    try:
        name, _, revision = (place, "", "") if Path(place).is_dir() else place.partition("@")
        at: dict[str, Any] = {
            "subfolder": "tokenizer",
            "local_files_only": True,
            "revision": revision or "main",
        }
        tokenizer = CLIPTokenizer.from_pretrained(name, **at)
    except (OSError, ValueError, TypeError):
        return ""
    return notice(lost_words(tokenizer, prompt)) if 2 < len(tokenizer) else ""


def warn(tokenizer: Any, prompt: str) -> None:
    """Log what is lost of a prompt."""
    if len(prompt.encode()) > FEWEST_TOKENS - 2 and (text := notice(lost_words(tokenizer, prompt))):
        logging.getLogger("i4d").warning("%s", text)
