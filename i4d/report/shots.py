"""What every run renders for its report: watched cameras and a novel path, before and after the edit."""

from __future__ import annotations

from i4d.driver.renders import RenderJob, Shot
from i4d.geometry.paths import spiral, standing
from i4d.scenes.bounds import scene_middle
from i4d.types import Camera, Scene

PATH_BEFORE, PATH_AFTER, KEY_BEFORE, OTHERS_BEFORE = (
    "path/before",
    "path/after",
    "key/before",
    "others/before",
)


def watched_views(scene: Scene) -> tuple[int, ...]:
    """Return the views that figures and videos are about: held-out cameras, or the first trained one where
    none is.
    """
    return scene.held_out_views or scene.train_views[:1]


def before(camera: str) -> str:
    """Return the name of the renders of a camera before any edit."""
    return f"before/{camera}"


def after(camera: str) -> str:
    """Return the name of the renders of a camera from the last round."""
    return f"after/{camera}"


def other_instants(num_frames: int, key_frame: int) -> tuple[int, ...]:
    """Return the first and the last instant, without the key instant: where agreement of cameras is not made,
    but comes about or not.
    """
    return tuple(sorted({0, num_frames - 1} - {key_frame}))


def render_jobs(scene: Scene, key_frame: int | None = 0) -> tuple[RenderJob, ...]:
    """Return the renders of a run that edits `key_frame` first, or (None) of one that edits nothing.

    `key/before` is colour and depth of every trained view at the key instant from the unedited field: what
    the agreement between edited views is measured with. `others/before` is depth alone at other instants, one
    after the other.
    """
    frames = tuple(range(scene.num_frames))
    watched = [scene.cameras[view] for view in watched_views(scene)]
    path = path_shots(scene)
    first = [RenderJob(before(camera.name), (Shot(camera, frames),), 0) for camera in watched]
    if key_frame is None:
        return (*first, RenderJob(PATH_BEFORE, path, 0))
    keys = tuple(Shot(scene.cameras[view], (key_frame,)) for view in scene.train_views)
    others = [
        Shot(scene.cameras[view], (t,))
        for t in other_instants(scene.num_frames, key_frame)
        for view in scene.train_views
    ]
    last = [RenderJob(after(camera.name), (Shot(camera, frames),), -1) for camera in watched]
    return (
        *first,
        RenderJob(PATH_BEFORE, path, 0),
        RenderJob(KEY_BEFORE, keys, 0, ("rgb", "depth")),
        *(
            [RenderJob(OTHERS_BEFORE, tuple(others), 0, ("depth",))]
            if len(scene.train_views) > 1 and others
            else []
        ),
        *last,
        RenderJob(PATH_AFTER, path, -1),
    )


def path_shots(scene: Scene) -> tuple[Shot, ...]:
    """Return a novel camera path, one shot per frame of the video: the camera moves while time runs."""
    return tuple(
        Shot(camera, (i % scene.num_frames,)) for i, camera in enumerate(novel_path(scene, scene.num_frames))
    )


def novel_path(scene: Scene, count: int, turns: float = 1.0) -> tuple[Camera, ...]:
    """Return `count` cameras of a slow loop; where the first trained camera moves, a loop about where it
    stands at each frame.
    """
    cameras = [scene.cameras[view] for view in scene.train_views]
    if cameras[0].path is None:
        return spiral(cameras, scene_middle(cameras)[0], count, scene.bounds.kind == "ndc", turns)
    target, _ = scene_middle(standing(cameras, scene.num_frames))
    loops = (
        spiral([cameras[0].at(i % scene.num_frames)], target, count, False, turns)[i] for i in range(count)
    )
    return tuple(loops)
