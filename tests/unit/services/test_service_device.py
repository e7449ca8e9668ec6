"""Which card a worker says it is on: processes that see one card each all call it cuda:0."""

import pytest

from i4d.services.device import card_of


@pytest.mark.parametrize(
    ("visible", "index", "card"),
    [
        (None, 0, "0"),
        (None, 3, "3"),
        ("2", 0, "2"),
        ("4, 1", 1, "1"),
        ("GPU-5a,GPU-6b", 1, "GPU-6b"),
        ("", 0, "0"),
    ],
)
def test_a_card_is_named_as_the_host_counts_it(visible, index, card):
    assert card_of(index, {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == card
