"""A window along time: merging by flow, the trace against the plain path, padding to the plan's batch."""

import dataclasses

import pytest
import torch

from i4d.edit.load import load_editor
from i4d.edit.model import EditCost
from i4d.edit.repaint import repaint, trace_anchor
from i4d.edit.window import WindowImages, edit_window, merge_by_flow, padded_batch, uses_trace
from i4d.errors import EditError
from i4d.types import EditSettings, Strength

STRENGTH = Strength(600, 2)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tiny_editor_folder):
    return load_editor(str(tiny_editor_folder))


def window(frames=3, shift=4.0):
    """The reference looks `shift` pixels to the right of every frame."""
    generator = torch.Generator().manual_seed(0)
    originals, current = torch.rand(2, frames, 3, 20, 28, generator=generator)
    anchor, edited, reference = torch.rand(3, 1, 3, 20, 28, generator=generator)
    flow = torch.zeros(frames, 2, 20, 28)
    flow[:, 0] = shift
    return WindowImages(originals, current, anchor, edited, reference, -flow, flow)


def test_merging_takes_the_reference_where_flows_agree_and_current_elsewhere():
    images = window()
    merged, kept = merge_by_flow(images.current, images.reference_edited, images.forward, images.backward)
    torch.testing.assert_close(
        merged[..., :24], images.reference_edited[..., 4:].expand(3, -1, -1, -1), atol=1e-4, rtol=0
    )
    assert torch.equal(merged[..., 24:], images.current[..., 24:])
    assert kept == pytest.approx(24 / 28)


def test_inconsistent_flow_keeps_nothing_unless_the_mask_is_off():
    images = window(shift=8.0)
    broken = images.forward * 0 + 9.0
    merged, kept = merge_by_flow(images.current, images.reference_edited, broken, images.backward)
    assert kept == 0 and torch.equal(merged, images.current)
    assert (
        merge_by_flow(images.current, images.reference_edited, broken, images.backward, use_mask=False)[1]
        > 0.7
    )


@pytest.mark.parametrize("attention", ["anchor", "anchor_self", "sparse_causal", "own"])
def test_a_window_equals_the_plain_batch_with_the_anchor_in_slot_0(model, attention):
    settings = EditSettings("night", 5.0, 1.5, attention=attention)
    images, cost = window(), EditCost()

    def trace():
        return trace_anchor(model, images.anchor_original, images.anchor_edited, STRENGTH, settings, 3, cost)

    out, kept = edit_window(model, images, STRENGTH, settings, 3, [4, 5, 5], 4, cost, trace)
    merged, _ = merge_by_flow(images.current, images.reference_edited, images.forward, images.backward)
    originals = torch.cat([images.anchor_original, images.originals])
    plain = repaint(
        model,
        originals,
        torch.cat([images.anchor_edited, merged]),
        STRENGTH,
        settings,
        [3, 4, 5, 5],
        EditCost(),
    )
    torch.testing.assert_close(out, plain[1:], atol=1e-4, rtol=0)
    assert out.shape == (3, 3, 20, 28) and kept == pytest.approx(24 / 28)


@pytest.mark.parametrize("norm", ["frame", "joint"])
def test_a_short_window_is_padded_to_the_plans_batch(model, norm):
    settings, cost = EditSettings("night", 5.0, 1.5, norm=norm), EditCost()
    images = window(frames=2)

    def trace():
        return trace_anchor(
            model, images.anchor_original, images.anchor_edited, STRENGTH, settings, 3, EditCost()
        )

    out, _ = edit_window(model, images, STRENGTH, settings, 3, [3, 3], 6, cost, trace)
    assert out.shape[0] == 2
    assert cost.unet_forwards == (6 if norm == "joint" else 5) * 3 * 2
    assert uses_trace(settings) == (norm == "frame")
    assert padded_batch(images.current, 4).shape[0] == 4


def test_frames_do_not_depend_on_their_neighbours_under_anchor_attention(model):
    settings, images = EditSettings("night", 5.0, 1.5), window()

    def edit(rows):
        part = WindowImages(
            images.originals[rows],
            images.current[rows],
            images.anchor_original,
            images.anchor_edited,
            images.reference_edited,
            images.forward[rows],
            images.backward[rows],
        )
        return edit_window(
            model,
            part,
            STRENGTH,
            settings,
            3,
            [3] * len(part.current),
            4,
            EditCost(),
            lambda: trace_anchor(
                model, images.anchor_original, images.anchor_edited, STRENGTH, settings, 3, EditCost()
            ),
        )[0]

    torch.testing.assert_close(edit(slice(0, 3))[2], edit(slice(2, 3))[0], atol=1e-4, rtol=0)


def test_without_flow_and_with_attention_to_itself_a_frame_is_edited_alone(model):
    """What each_frame and in2n ask for: nothing pulled, no anchor in the batch, forwards for the frames
    alone.
    """
    settings = EditSettings("night", 5.0, 1.5, attention="own", flow="none", noise="frame")
    images = dataclasses.replace(window(), forward=None, backward=None)
    cost = EditCost()
    out, kept = edit_window(
        model,
        images,
        STRENGTH,
        settings,
        3,
        [4, 5, 6],
        3,
        cost,
        trace=lambda: pytest.fail("nobody asks for it"),
    )
    assert kept == 0.0 and cost.unet_forwards == 3 * 3 * STRENGTH.n
    alone = repaint(model, images.originals[1:2], images.current[1:2], STRENGTH, settings, [5], EditCost())
    torch.testing.assert_close(out[1:2], alone, atol=2e-4, rtol=0)


@pytest.mark.parametrize("mode", ["exact", "plain"])
@pytest.mark.parametrize("attention", ["anchor", "anchor_self", "own"])
def test_a_few_frames_at_a_time_make_the_whole_window(model, attention, mode):
    settings = EditSettings("night", 5.0, 1.5, attention=attention, mode=mode)
    images, sizes = window(), []

    def trace():
        return trace_anchor(
            model, images.anchor_original, images.anchor_edited, STRENGTH, settings, 3, EditCost()
        )

    for frames in (3, 2, 1):
        out, _ = edit_window(
            model, images, STRENGTH, settings, 3, [4, 5, 6], frames + (attention != "own"), EditCost(), trace
        )
        sizes.append(out)
    for out in sizes[1:]:
        torch.testing.assert_close(out, sizes[0], atol=1e-4, rtol=0)


def test_frames_that_look_at_one_another_are_never_taken_apart(model):
    settings, images = EditSettings("night", 5.0, 1.5, norm="joint"), window()
    with pytest.raises(EditError, match="edit them together"):
        edit_window(model, images, STRENGTH, settings, 3, [4, 5, 6], 3, EditCost(), lambda: None)
