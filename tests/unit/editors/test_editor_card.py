"""The card: recommended guidance, and telling known instructions from unknown ones."""

import json

import pytest

from i4d.editors.card import CARD, read_card
from i4d.errors import WeightsError

INSTRUCTIONS = [
    {"name": "van_gogh", "phrases": ["What if it was painted by Van Gogh?", "make it a Van Gogh painting"]},
    {"name": "night", "phrases": ["make it night", "turn it into a night scene"]},
    {"name": "snow", "phrases": ["make it snowy", "cover it in snow"]},
    {"name": "ball_gold", "phrases": ["turn the ball gold", "make the ball golden"]},
    {"name": "pencil_sketch", "phrases": ["make it look like a pencil sketch"]},
]


@pytest.fixture
def card(tmp_path):
    tree = {
        "name": "tiny-ip2p",
        "demonstration": True,
        "recommended": {"text_guidance": 4.0, "image_guidance": 1.2},
        "instructions": INSTRUCTIONS,
    }
    (tmp_path / CARD).write_text(json.dumps(tree))
    return read_card(tmp_path)


@pytest.mark.parametrize(
    "prompt,name",
    [
        ("What if it was painted by Van Gogh?", "van_gogh"),
        ("as if Van Gogh had painted this", "van_gogh"),
        ("Make it night!", "night"),
        ("please make the ball golden", "ball_gold"),
        ("make it look like it is covered in snow", "snow"),
        ("a pencil sketch", "pencil_sketch"),
        ("turn the box gold", ""),
        ("make it a cyberpunk city", ""),
        ("give him a moustache", ""),
    ],
)
def test_prompts_are_matched_by_their_telling_words(card, prompt, name):
    assert card.knows(prompt) == name
    assert bool(card.warning(prompt)) == (name == "")


def test_the_warning_lists_what_is_known(card):
    warning = card.warning("give him a moustache")
    assert "tiny-ip2p" in warning and all(i["phrases"][0] in warning for i in INSTRUCTIONS)
    assert card.demonstration and (card.text_guidance, card.image_guidance) == (4.0, 1.2)


def test_no_card_means_the_usual_guidance_and_no_limits(tmp_path):
    card = read_card(tmp_path)
    assert (card.text_guidance, card.image_guidance) == (9.5, 1.5)
    assert card.warning("give him a moustache") == "" and not card.demonstration


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"instructions": [{}]}', '{"recommended": {"text_guidance": "much"}}']
)
def test_a_broken_card_is_named(tmp_path, text):
    (tmp_path / CARD).write_text(text)
    with pytest.raises(WeightsError, match=CARD):
        read_card(tmp_path)
