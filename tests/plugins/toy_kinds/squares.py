"""A reader that i4d has never heard of: `poses.csv` (camera,focal,x,y,z; all look along z) beside a folder of
pictures per camera."""

import csv

import numpy as np

from i4d.errors import SceneError
from i4d.scenes.bounds import forward_spaces
from i4d.scenes.sources import ImageFolders, working_size
from i4d.scenes.timeline import timeline
from i4d.types import Camera, Scene


def read(config, root, progress=None):
    path = root / "poses.csv"
    if not path.exists():
        raise SceneError(f"{path}: missing", "write one line a camera: name,focal,x,y,z")
    rows = [row for row in csv.reader(path.open()) if row[0] not in config.drop]
    source = ImageFolders({name: root / name for name, *_ in rows})
    originals = []
    for name, *numbers in rows:
        focal, *centre = map(float, numbers)
        width, height = source.size(name)
        pose = np.eye(4)
        pose[:3, 3] = centre
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        originals.append(Camera(name, width, height, K, pose))
    size = working_size(config, originals[0].width, originals[0].height)
    cameras = tuple(camera.resized(*size) for camera in originals)
    names = [camera.name for camera in cameras]
    line = timeline(config, source, names, root)
    bounds = forward_spaces(cameras, config.near or 1.0, config.far or 100.0)[0]
    held_out, shown = tuple(config.held_out), (line, tuple(originals))
    return Scene(config.name, cameras, line.num_frames, line.fps, bounds, held_out, *shown, first=line.first)
