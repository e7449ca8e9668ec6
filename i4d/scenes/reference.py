"""`--reference image.png`: one camera's key frame as the user has edited it, brought to the working size the
way its video is.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from i4d.config import LocalConfig
from i4d.errors import ConfigError, SceneError
from i4d.scenes.prepare import undistortion
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


def read_reference(local: LocalConfig, scene: Scene, view: int, store: ObjectStore) -> FrameAddress | None:
    """Return where the given key frame lies, a float16 row (height, width, 3) in [0, 1]; None without
    `--reference`.

    SceneError for a picture of another shape than the camera's video; it may be of another size.
    """
    check_reference(local)
    if not local.reference:
        return None
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
    return FrameAddress(
        write_block(store, (image[None].astype(np.float32) / 255).astype(np.float16)).digest, 0
    )
