"""`--reference image.png`: one camera's key frame as the user has edited it, brought to the working size the
way its video is and laid onto the original frame.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from i4d.config import Config, LocalConfig
from i4d.errors import ConfigError, SceneError
from i4d.geometry.alignment import STILL_PX, measure, undone
from i4d.scenes.prepare import undistortion, working_frames
from i4d.scenes.video import image_file
from i4d.store.blocks import write_block
from i4d.store.objects import ObjectStore
from i4d.types import FrameAddress, Scene


def check_reference(local: LocalConfig) -> None:
    """Raise ConfigError where the picture is not there, or a camera is named without one."""
    if local.reference and not Path(local.reference).is_file():
        raise ConfigError(
            f"--reference {local.reference}: no such file",
            "a picture of one camera's key frame as you want it",
        )
    if local.reference_camera and not local.reference:
        raise ConfigError(
            f"--reference-camera {local.reference_camera} without --reference", "give the picture too"
        )


def read_reference(
    config: Config, scene: Scene, view: int, frame: int, store: ObjectStore
) -> tuple[FrameAddress | None, str]:
    """Return where the given picture of a view's key frame lies, a float16 row (height, width, 3) in [0, 1],
    and in words how it was laid onto the original; None and nothing without `--reference`.

    SceneError for a picture of another shape than the camera's video, which may be of another size, or one
    that does not show the same.
    """
    local = config.local
    check_reference(local)
    if not local.reference:
        return None, ""
    image, told = aligned(at_working_size(local, scene, view), config, scene, view, frame)
    row = (image[None].astype(np.float32) / 255).astype(np.float16)
    return FrameAddress(write_block(store, row).digest, 0), told


def aligned(image: np.ndarray, config: Config, scene: Scene, view: int, frame: int) -> tuple[np.ndarray, str]:
    """Return a picture of a view's frame laid onto the original, and that in words; SceneError with the
    figures where they do not show the same. Without the check (`scene.check`) it is taken as it is.
    """
    if not config.scene.check:
        return image, f"--reference {config.local.reference} is taken as it is, unchecked"
    name, of = f"--reference {config.local.reference}", scene.cameras[view].name
    found = measure(image, next(working_frames(scene, config.scene, view, frame)))
    if not found.fits:
        raise SceneError(
            f"{name} does not lie on frame {frame} of {of}: {found.figures()}",
            "edit that very frame, without cropping it, or choose its camera with --reference-camera; "
            "--no-check takes it as it is",
        )
    if found.still:
        limit = (
            "" if found.corner_px <= STILL_PX else f", as far as its strokes tell ({found.corner_px:.1f} px)"
        )
        return image, f"{name} lies on its frame{limit}"
    return undone(image, found), f"{name} was {found}: undone"


def at_working_size(local: LocalConfig, scene: Scene, view: int) -> np.ndarray:
    """Return the given picture as `prepare` would bring it from the view's video: undistorted, resized."""
    image, camera, original = (
        image_file(Path(local.reference)),
        scene.cameras[view],
        scene.source_cameras[view],
    )
    height, width = image.shape[:2]
    if abs(width * original.height - height * original.width) > 0.02 * width * original.height:
        what = (
            f"--reference {local.reference} is {width}x{height}, the video of {camera.name} "
            f"{original.width}x{original.height}"
        )
        raise SceneError(
            what,
            "edit a frame of that video without cropping it, or choose its camera with --reference-camera",
        )
    if original.distortion:
        maps = undistortion(original.resized(width, height))
        image = cv2.remap(image, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    if (width, height) != (camera.width, camera.height):
        shrinking = camera.width < width
        image = cv2.resize(
            image,
            (camera.width, camera.height),
            interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC,
        )
    return image
