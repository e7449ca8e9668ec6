"""How an edit came about: the key frame step by step and round by round, and what a window's warp could
explain.
"""

from __future__ import annotations

from html import escape

import cv2
import numpy as np
import torch

from i4d.errors import ConfigError
from i4d.flow.classical import DisFlow
from i4d.flow.warp import consistency_mask, warp
from i4d.metrics.steadiness import planes
from i4d.report.embed import picture_uri
from i4d.report.footage import Footage
from i4d.report.layout import again, sheet, which
from i4d.types import FrameAddress

_MOST_STEPS = 8  # pictures of a row: more are thinned evenly
_OCCLUDED = (220, 40, 40)  # colour over what the flow cannot explain


def shown_view(footage: Footage, camera: str = "") -> int:
    """Return the edited view that a report looks into: the named one, else the middle one; ConfigError for a
    name that is none.
    """
    views = footage.scene.train_views
    if not camera:
        return views[len(views) // 2]
    names = {footage.camera(view).name: view for view in views}
    if camera not in names:
        raise ConfigError(f"--camera {camera}: no edited camera", f"one of {', '.join(names)}")
    return names[camera]


def evolution(footage: Footage, view: int) -> str:
    """Return a section with one camera's key frame after every joint edit of every round, and the rounds'
    figures.
    """
    if not footage.edited:
        return ""
    views, key = footage.scene.train_views, footage.key_frame
    camera = footage.camera(view).name
    rows = []
    for index, manifest in sorted(footage.manifests.items()):
        steps = [
            name
            for name in sorted(manifest["receipts"])
            if name.startswith(f"r{index}/key") and _whole(manifest["receipts"][name], views)
        ]
        if index == 0 or not steps:
            continue
        chosen = sorted({round(i) for i in np.linspace(0, len(steps) - 1, min(len(steps), _MOST_STEPS))})
        pictures = [
            (
                f"step {i + 1}",
                _row(footage, manifest["receipts"][steps[i]]["block"]["digest"], views.index(view)),
            )
            for i in chosen
        ]
        last = ("windows start here", footage.edited_frame(view, key, index))
        mark = "<br><small>kept</small>" if index == footage.kept and len(footage.manifests) > 2 else ""
        rows.append((f"Round {index}", mark, [("original", footage.original(view, key)), *pictures, last]))
    if not rows:
        return ""
    cells, width = [], max(len(shown) for *_, shown in rows)
    for title, mark, shown in rows:
        cells.append(f"<span class='row'>{title}{mark}</span>")
        for name, image in shown:
            label = escape(f"{title}, {name}, key frame of {camera}")
            cells.append(
                f'<figure><img alt="{label}" '
                f'src="{picture_uri(image)}"><figcaption>{name}</figcaption></figure>'
            )
        cells += ["<span></span>"] * (width - len(shown))
    columns = sheet(width, footage.camera(view), 120)
    when = f"Camera {escape(camera)}, {which(key, footage.scene.num_frames)}"
    made = "each joint edit and its average between the cameras" if len(views) > 1 else "its edit"
    hint = f"{when}: after {made}; last, what the windows start from."
    return (
        f"<h2>How the key frame came about</h2><p class='hint'>{hint}</p><div class='card scroll'>"
        f"<div class='sheet' style='{columns}'>{''.join(cells)}</div></div>"
        f"{again(footage.run.path.name, 'report', '--camera', camera)}"
    )


def _whole(receipt: dict, views: tuple[int, ...]) -> bool:
    """Return whether a receipt is of a block with a row for every edited view: a joint edit's average, not a
    part of one.
    """
    return receipt.get("block", {}).get("num_rows") == len(views)


def _row(footage: Footage, digest: str, row: int) -> np.ndarray:
    image = footage.run.reader.row(FrameAddress(digest, row))
    if image.dtype == np.uint8:
        return image
    return (image.astype(np.float32).clip(0, 1) * 255).round().astype(np.uint8)


def flow_overlays(footage: Footage, view: int) -> str:
    """Return a section about one window: the reference, what its warp says of later frames, what it cannot
    say, the edit.
    """
    if not footage.edited or footage.scene.num_frames < 2:
        return ""
    key, frames = footage.key_frame, footage.scene.num_frames
    step = 1 if key + 1 < frames else -1
    later = [key + step * d for d in (1, 2, 4, 8) if 0 <= key + step * d < frames]
    original, edited = footage.original(view, key), footage.edited_frame(view, key)
    columns = []
    for frame in later:
        warped, explained = warped_frame(original, footage.original(view, frame), edited)
        share = 100 * float(explained.mean())
        shown = (
            ("warped from the key frame", warped),
            (f"red: not explained ({100 - share:.0f} %)", tinted(footage.original(view, frame), ~explained)),
        )
        columns.append([*shown, ("as edited", footage.edited_frame(view, frame))])
    cells = ["<span></span>", *(f"<span>frame {frame}</span>" for frame in later)]
    for row, name in enumerate(("Warp", "Occlusion", "Edited")):
        cells.append(f'<span class="row">{name}</span>')
        for column, frame in zip(columns, later, strict=True):
            caption, image = column[row]
            label = escape(f"{caption}, frame {frame} of {footage.camera(view).name}")
            cells.append(
                f'<figure><img alt="{label}" '
                f'src="{picture_uri(image)}"><figcaption>{escape(caption)}</figcaption></figure>'
            )
    grid = sheet(len(later), footage.camera(view))
    words = (
        "the edited key frame pulled along the original video's flow (DIS), and where it cannot be trusted."
    )
    hint = f"<p class='hint'>Camera {escape(footage.camera(view).name)}: {words}</p>"
    strip = f"<div class='card scroll'><div class='sheet' style='{grid}'>{''.join(cells)}</div></div>"
    return (
        "<h2>What the flow "
        f"carries</h2>{hint}{strip}"
        f"{again(footage.run.path.name, 'report', '--camera', footage.camera(view).name)}"
    )


def warped_frame(
    reference: np.ndarray, frame: np.ndarray, edited: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return `edited` (the reference's edit) pulled into a frame, and bool (h, w) where the flow is
    consistent; all uint8 (h, w, 3).
    """
    both = [planes(reference), planes(frame)]
    flows = DisFlow().estimate(torch.stack(both), torch.stack(both[::-1]))
    mask = consistency_mask(flows[:1], flows[1:])[0, 0]
    pulled = warp(planes(edited)[None], flows[1:])[0]
    return (pulled.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy(), mask.bool().numpy()


def tinted(frame: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return a frame with a colour laid over bool (h, w)."""
    out = frame.copy()
    out[where] = cv2.addWeighted(frame, 0.45, np.full_like(frame, _OCCLUDED), 0.55, 0)[where]
    return out
