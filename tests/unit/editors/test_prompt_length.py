"""Sentences that are longer than the text encoder reads: told, with the words that are lost."""

import logging

import pytest

from i4d.editors.instruct_pix2pix.load import load_editor
from i4d.editors.instruct_pix2pix.prompt_length import lost_words, notice_of

LONG = " ".join(f"and paint wall number {i} blue" for i in range(30))


@pytest.fixture(scope="module")
def tokenizer():
    return load_editor("tiny-ip2p").tokenizer


def test_what_fits_loses_nothing(tokenizer, tiny_editor_folder):
    assert lost_words(tokenizer, "make it night") == ""
    assert notice_of(str(tiny_editor_folder), "make it night") == ""


def test_what_is_lost_begins_at_the_first_word_that_is_not_read_whole(tokenizer):
    lost = lost_words(tokenizer, LONG)
    kept = LONG.removesuffix(lost)
    assert lost and kept + lost == LONG and kept.endswith(" ")
    room = tokenizer.model_max_length
    assert len(tokenizer(kept).input_ids) <= room < len(tokenizer(kept + lost.split()[0]).input_ids)


def test_the_tokens_that_the_encoder_gets_are_those_of_the_words_kept(tokenizer):
    lost = lost_words(tokenizer, LONG)
    read = tokenizer(LONG, truncation=True, max_length=tokenizer.model_max_length).input_ids
    kept = tokenizer(LONG.removesuffix(lost)).input_ids
    assert read[: len(kept) - 1] == kept[:-1]


def test_a_run_is_told_when_it_begins():
    from i4d.compose import choose_editor, notices_of
    from i4d.config import Config

    config = Config()
    config.editor.weights, config.editor.attention = "tiny-ip2p", "anchor"
    said = notices_of(choose_editor(config, LONG, "cpu"))[-1]
    assert "longer than the text encoder reads" in said and said.endswith('wall number 29 blue"')
    assert not any("longer" in text for text in notices_of(choose_editor(config, "make it night", "cpu")))


def test_a_worker_tells_where_nobody_else_could(tiny_editor_folder, caplog):
    model = load_editor(str(tiny_editor_folder))
    with caplog.at_level(logging.WARNING, "i4d"):
        model.text(LONG)
        assert not caplog.records  # the folder is here: it was told when the run began
        model.source, model._texts = "someone/an-editor", {}
        model.text(LONG)
    assert len(caplog.records) == 1 and "does not see" in caplog.text


def test_an_editor_that_is_not_here_says_nothing():
    assert notice_of("someone/an-editor-that-is-not-here", LONG) == ""
