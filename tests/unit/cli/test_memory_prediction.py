"""Predicted peaks and the batch that follows from the card, without a card."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from i4d.commands.doctor import disk, memory
from i4d.commands.peaks import ROOM, editor_bytes, size_batch, trainer_bytes
from i4d.config import Config
from i4d.editors.instruct_pix2pix.weights import HUB_DEFAULT
from i4d.fields.vector_matrix.memory import field_parameters

GIB = 1 << 30


def config(**editor):
    out = Config()
    for key, value in editor.items():
        setattr(out.editor, key, value)
    return out


@pytest.mark.parametrize(
    ("width", "height", "card_gb", "frames"),
    [(1352, 1014, 24, 5), (676, 507, 12, 5), (1352, 1014, 12, 3), (1352, 1014, 4, 1)],
)
def test_the_batch_is_the_most_that_the_card_has_room_for(width, height, card_gb, frames):
    settings = config()
    sentence = size_batch(settings, HUB_DEFAULT, width, height, card_gb * GIB)
    assert settings.editor.batch == frames and bool(sentence) == (frames < 5)
    if 1 < frames < 5:
        assert f"{frames} of 5 frames" in sentence
        assert editor_bytes(settings, HUB_DEFAULT, width, height, card_gb * GIB) <= ROOM * card_gb * GIB
        settings.editor.batch += 1
        assert editor_bytes(settings, HUB_DEFAULT, width, height, card_gb * GIB) > ROOM * card_gb * GIB


@pytest.mark.parametrize(
    ("width", "height", "card_gb", "measured_gb"), [(1352, 1014, 24, 12.5), (676, 507, 12, 7.5)]
)
def test_predictions_lie_a_little_above_what_was_measured(width, height, card_gb, measured_gb):
    """Peaks reserved on an H100 under these caps; a prediction counts the whole share that anchors may
    take.
    """
    predicted = editor_bytes(config(), HUB_DEFAULT, width, height, card_gb * GIB)
    assert measured_gb * 1e9 < predicted < 1.4 * measured_gb * 1e9


def test_a_batch_that_is_set_stays_and_a_cap_counts_as_the_card():
    settings = config(batch=2)
    assert size_batch(settings, HUB_DEFAULT, 1352, 1014, 4 * GIB) == "" and settings.editor.batch == 2
    capped = config(memory_cap_gb=12.0)
    size_batch(capped, HUB_DEFAULT, 1352, 1014, 80 * GIB)
    assert capped.editor.batch == 3


def test_doctor_tells_the_prediction_and_the_batch():
    cards = [("small", 12 * GIB), ("large", 80 * GIB)]
    finding = memory(config(), "cuda", cards, HUB_DEFAULT, (17, 50, 1352, 1014))
    assert "predicted peaks: trainer" in finding.found and "3 of 5 frames at a time" in finding.found


def test_a_local_edit_counts_the_unedited_field_beside_the_edited_one():
    plain, local = config(), config()
    local.local.where = "0,0,0,1,1,1"
    more = trainer_bytes(local, 50) - trainer_bytes(plain, 50)
    assert more == 4 * field_parameters(plain.field, 50) > 0


def test_doctor_looks_at_the_disk_that_the_run_will_lie_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    size = (17, 50, 1352, 1014)
    rooms = {tmp_path / "big": 1 << 50, tmp_path / "blocks": 2 << 50, tmp_path: 1 << 20}
    for place in rooms:
        place.mkdir(exist_ok=True)
    monkeypatch.setattr(
        "i4d.commands.doctor.shutil.disk_usage", lambda where: SimpleNamespace(free=rooms[Path(where)])
    )
    assert disk(config(), size, Path("small/run")).state == "fail"
    assert str(tmp_path / "big") in disk(config(), size, tmp_path / "big" / "new" / "run").found
    elsewhere = config()
    elsewhere.storage_path = str(tmp_path / "blocks")
    assert str(tmp_path / "blocks") in disk(elsewhere, size, Path("small/run")).found
    elsewhere.storage_path = "s3://bucket/blocks"
    assert disk(elsewhere, size, Path("small/run")).state == "ok"
