"""The report's videos: sections with one video beside the other that play in step."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from i4d.report.embed import video_uri
from i4d.report.footage import Footage
from i4d.report.layout import abreast, again
from i4d.report.videos import NO_VIDEOS, Clip, clips, write_clip
from i4d.scenes.video import available

MAIN_BYTES, MORE_BYTES = (
    14 << 20,
    5 << 20,
)  # of video: watched cameras and path; edited training views (base64 adds a third)


def videos(footage: Footage) -> str:
    """Return the sections with videos: one per watched camera, the novel path, the edited training views."""
    if not available():
        return f"<p class='hint'>{NO_VIDEOS}</p>"
    found: dict[str, list[Clip]] = {}
    for clip in clips(footage):
        if clip.group:
            found.setdefault(clip.group, []).append(clip)
    seen = (
        "never trained on nor edited"
        if footage.scene.held_out
        else "no camera is held out, so this one was trained on"
    )
    out = []
    main = sum(len(group) for name, group in found.items() if name != "edited views")
    for name, group in found.items():
        if name.startswith("camera"):
            moves = any(
                f"camera {camera.name}" == name and camera.path is not None
                for camera in footage.scene.cameras
            )
            kind = "The camera on its own way" if moves else "Fixed camera"
            out.append(
                f"<h2>From {escape(name)}</h2><p class='hint'>{kind}, {seen}. Rendered from the field.</p>"
            )
        elif name == "path":
            out.append(
                "<h2>Along a novel path</h2><p class='hint'>The camera moves where no camera was, "
                "while time runs.</p>"
            )
        else:
            out.append("<h2>What the field was fitted to</h2>")
            whose = (
                "cameras' videos as the editor left them"
                if len(group) > 1
                else "camera's video as the editor left it"
            )
            out.append(f"<p class='hint'>The training {whose}, before the last refit.</p>")
            out.append(_group(footage, group, MORE_BYTES // len(group), "videos many"))
            out.append(again(footage.run.path.name, "report"))
            continue
        out.append(_group(footage, group, MAIN_BYTES // main, "videos"))
        out.append(
            again(footage.run.path.name, "render", "--path", "spiral" if name == "path" else "side-by-side")
        )
    return "\n".join(out)


def _group(footage: Footage, group: Sequence[Clip], cap_bytes: int, css: str) -> str:
    fps, frames = footage.scene.fps, min(clip.num_frames for clip in group)
    shown = []
    for clip in group:
        path = footage.run.path / "videos" / f"{clip.name}.mp4"
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            write_clip(path, clip, fps)
        label = escape(f"Video: {clip.title}, {clip.group}")
        shown.append(
            f'<figure><video controls muted playsinline preload="auto" aria-label="{label}" '
            f'src="{video_uri(path, cap_bytes)}"></video>'
            f"<figcaption>{escape(clip.title)}</figcaption></figure>"
        )
    name = escape(group[0].group)
    controls = (
        '<div class="controls" hidden><button type="button">Play</button>'
        f'<input type="range" min="0" max="{frames - 1}" value="0" step="1" aria-label="Frame, '
        f'{name}"><output></output></div>'
    )
    data = f'data-group data-frames="{frames}" data-fps="{fps:g}"'
    both = _wipe(group) if css == "videos" and group[-1].title == "Edited" and len(group) > 1 else ""
    tall, style = abreast(len(group), footage.scene.cameras[0])
    return (
        f'<div class="card stage" {data}><div '
        f'class="{css}{tall}"{style}>{"".join(shown)}</div>{both}{controls}</div>'
    )


def _wipe(group: Sequence[Clip]) -> str:
    """Return the slider between the last two videos of a group; the page's script puts them over each
    other.
    """
    left, right = (escape(clip.title) for clip in group[-2:])
    label = escape(f"Slider between {group[-2].title} and {group[-1].title}, {group[0].group}")
    return (
        f'<div class="wipe" hidden data-before="{left}, behind the slider" data-after="{right}, '
        'behind the slider"><div class="pair"></div>'
        '<input type="range" min="0" max="100" value="50" '
        f'aria-label="{label}"><p><span>{left}</span><span>{right}</span></p></div>'
    )
