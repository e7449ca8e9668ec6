"""A window along time: merging by flow, the trace against the plain path, padding to the plan's batch."""

import dataclasses

import pytest
import torch

from i4d.editors.instruct_pix2pix.kind import KIND
from i4d.editors.protocol import EditCost
from i4d.errors import EditError
from i4d.method.call import padded_batch
from i4d.method.window import Edited, FlowSource, WindowImages, WindowSeeds, edit_window, warped
from i4d.types import EditSettings, Strength

STRENGTH = Strength(600, 2)
PULLED = EditSettings("night", 5.0, 1.5)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def editor(tiny_editor_folder):
    return KIND.load(str(tiny_editor_folder))


def window(frames=3, shift=4.0):
    """The reference looks `shift` pixels to the right of every frame."""
    generator = torch.Generator().manual_seed(0)
    originals, current = torch.rand(2, frames, 3, 20, 28, generator=generator)
    anchor, edited, reference = torch.rand(3, 1, 3, 20, 28, generator=generator)
    flow = torch.zeros(2, 20, 28)
    flow[0] = shift
    pulled = FlowSource(reference, [(-flow, flow)] * frames)
    return WindowImages(originals, current, Edited(anchor, edited), Edited(anchor, reference), [pulled])


def recalled(editor, images, settings, cost=None):
    """Return how the service hands the memory of the anchor to a window, seed 3."""
    anchor, cost = images.anchor, cost or EditCost()
    return lambda strength: editor.remember(anchor.original, anchor.edited, strength, settings, 3, cost)


def test_merging_takes_the_reference_where_flows_agree_and_current_elsewhere():
    images = window()
    merged, kept = warped(images, PULLED)
    torch.testing.assert_close(
        merged[..., :24], images.reference.edited[..., 4:].expand(3, -1, -1, -1), atol=1e-4, rtol=0
    )
    assert torch.equal(merged[..., 24:], images.current[..., 24:])
    assert kept == pytest.approx(24 / 28)


def test_inconsistent_flow_keeps_nothing_unless_the_mask_is_off():
    images = window(shift=8.0)
    (pulled,) = images.pulled
    flows = [(forward * 0 + 9.0, backward) for forward, backward in pulled.flows]
    broken = dataclasses.replace(images, pulled=[dataclasses.replace(pulled, flows=flows)])
    merged, kept = warped(broken, PULLED)
    assert kept == 0 and torch.equal(merged, images.current)
    assert warped(broken, dataclasses.replace(PULLED, flow_mask=False))[1] > 0.7


@pytest.mark.parametrize("attention", ["anchor", "anchor_self", "sparse_causal", "own"])
def test_a_window_equals_the_plain_batch_with_the_anchor_in_slot_0(editor, attention):
    settings = EditSettings("night", 5.0, 1.5, attention=attention)
    images, cost = window(), EditCost()
    recall, seeds = recalled(editor, images, settings, cost), WindowSeeds(3, (4, 5, 5))
    out, kept = edit_window(editor, images, STRENGTH, settings, seeds, 4, cost, recall)
    merged, _ = warped(images, settings)
    originals = torch.cat([images.anchor.original, images.originals])
    start = torch.cat([images.anchor.edited, merged])
    plain = editor.repaint(originals, start, STRENGTH, settings, [3, 4, 5, 5], EditCost())
    torch.testing.assert_close(out, plain[1:], atol=1e-4, rtol=0)
    assert out.shape == (3, 3, 20, 28) and kept == pytest.approx(24 / 28)


@pytest.mark.parametrize("norm", ["frame", "joint"])
def test_a_short_window_is_padded_to_the_plans_batch(editor, norm):
    settings, cost = EditSettings("night", 5.0, 1.5, norm=norm), EditCost()
    images, seeds = window(frames=2), WindowSeeds(3, (3, 3))
    recall = recalled(editor, images, settings)
    out, _ = edit_window(editor, images, STRENGTH, settings, seeds, 6, cost, recall)
    assert out.shape[0] == 2
    assert cost.unet_forwards == (6 if norm == "joint" else 5) * 3 * 2
    assert editor.remembers(settings) == (norm == "frame")
    assert padded_batch(images.current, 4).shape[0] == 4


def test_frames_do_not_depend_on_their_neighbours_under_anchor_attention(editor):
    settings, images = EditSettings("night", 5.0, 1.5), window()

    def edit(frames):
        part = dataclasses.replace(
            images,
            originals=images.originals[frames],
            current=images.current[frames],
            pulled=[FlowSource(source.edited, [source.flows[f] for f in frames]) for source in images.pulled],
        )
        seeds, recall = WindowSeeds(3, (3,) * len(frames)), recalled(editor, images, settings)
        return edit_window(editor, part, STRENGTH, settings, seeds, 4, EditCost(), recall)[0]

    torch.testing.assert_close(edit([0, 1, 2])[2], edit([2])[0], atol=1e-4, rtol=0)


def test_without_flow_and_with_attention_to_itself_a_frame_is_edited_alone(editor):
    """What each_frame and in2n ask for: nothing pulled, no anchor in the batch, forwards for the frames
    alone.
    """
    settings = EditSettings("night", 5.0, 1.5, attention="own", flow="none", noise="frame")
    images = dataclasses.replace(window(), pulled=())
    cost, seeds = EditCost(), WindowSeeds(3, (4, 5, 6))
    nobody = lambda strength: pytest.fail("nobody asks for it")
    out, kept = edit_window(editor, images, STRENGTH, settings, seeds, 3, cost, nobody)
    assert kept == 0.0 and cost.unet_forwards == 3 * 3 * STRENGTH.n
    alone = editor.repaint(images.originals[1:2], images.current[1:2], STRENGTH, settings, [5], EditCost())
    torch.testing.assert_close(out[1:2], alone, atol=2e-4, rtol=0)


@pytest.mark.parametrize("mode", ["exact", "plain"])
@pytest.mark.parametrize("attention", ["anchor", "anchor_self", "own"])
def test_a_few_frames_at_a_time_make_the_whole_window(editor, attention, mode):
    settings = EditSettings("night", 5.0, 1.5, attention=attention, mode=mode)
    images, sizes, seeds = window(), [], WindowSeeds(3, (4, 5, 6))
    recall = recalled(editor, images, settings)
    for frames in (3, 2, 1):
        batch = frames + (attention != "own")
        sizes.append(edit_window(editor, images, STRENGTH, settings, seeds, batch, EditCost(), recall)[0])
    for out in sizes[1:]:
        torch.testing.assert_close(out, sizes[0], atol=1e-4, rtol=0)


def test_frames_that_look_at_one_another_are_never_taken_apart(editor):
    settings, images = EditSettings("night", 5.0, 1.5, norm="joint"), window()
    seeds = WindowSeeds(3, (4, 5, 6))
    with pytest.raises(EditError, match="edit them together"):
        edit_window(editor, images, STRENGTH, settings, seeds, 3, EditCost(), lambda strength: None)
