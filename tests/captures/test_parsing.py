"""What strangers' files may hold: 200 random corruptions of each kind give a scene or one clear line."""

import copy
import json
import math

import numpy as np
import pytest
import yaml
from capture_inputs import CAMERA, clean_demo, scene_config, write_cameras_json, write_transforms
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from i4d.config import Config, merge
from i4d.errors import I4DError
from i4d.scenes.load import load_scene
from i4d.scenes.load import scene_config as scene_tree
from i4d.scenes.readers.n3dv import read_n3dv
from i4d.scenes.readers.nerfstudio import read_nerfstudio
from i4d.scenes.readers.rig import read_rig
from i4d.types import Scene

MANY = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=[Phase.generate],
)
NUMBERS = st.sampled_from(
    [0, -1, 1, 2, 7.5, 1e-300, 1e300, -1e300, 10**30, 2**63, math.nan, math.inf, -math.inf, 1e9, -0.0]
)
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    st.text(max_size=8),
    st.sampled_from(["", "../../x", "cam03", "a\0b", "x" * 300, "é", "FOV", "nan"]),
    st.just([]),
    st.just({}),
    st.lists(NUMBERS, max_size=5),
    st.just([[1, 2], [3]]),
    st.just({"a": [1]}),
)


def leaves(tree, path=()):
    """Every place inside a tree of mappings and lists."""
    yield path
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield from leaves(value, (*path, key))


def corrupted(tree, data):
    """A copy of a tree with one to three places replaced, taken out or cut short."""
    tree = json.loads(json.dumps(tree))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(leaves(tree))))
        if not place:
            if data.draw(st.integers(0, 9)) == 0:
                return copy.deepcopy(data.draw(JUNK))
            continue
        parent = tree
        for key in place[:-1]:
            parent = parent[key]
        how = data.draw(st.sampled_from(["junk", "junk", "out", "text", "short"]))
        value = parent[place[-1]]
        if how == "out":
            del parent[place[-1]]
        elif how == "text":
            parent[place[-1]] = str(value)[:40]
        elif how == "short" and isinstance(value, list):
            parent[place[-1]] = value[: len(value) // 2]
        else:
            parent[place[-1]] = copy.deepcopy(data.draw(JUNK))
    return tree


def cut(content, data):
    """Bytes as they are, or truncated, in another encoding, or with some of them changed."""
    how = data.draw(st.integers(0, 7))
    if how == 0:
        return content[: data.draw(st.integers(0, len(content)))]
    if how == 1:
        return content.decode().encode(
            data.draw(st.sampled_from(["utf-16", "utf-8-sig", "utf-32", "latin-1"]))
        )
    if how == 2:
        content = bytearray(content)
        for _ in range(4):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        return bytes(content)
    return content


def outcome(read):
    """A scene, or one line that the program raises on purpose."""
    try:
        scene = read()
    except I4DError as err:
        assert "\n" not in str(err) and len(str(err)) < 1200, str(err)
        return "refused"
    assert isinstance(scene, Scene)
    for camera in scene.cameras:
        assert np.isfinite(camera.K).all() and np.isfinite(camera.world_from_camera).all()
    assert np.isfinite(scene.bounds.aabb).all() and scene.num_frames > 0 and math.isfinite(scene.fps)
    return "read"


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return clean_demo(tmp_path_factory.mktemp("demo") / "clean", 32, 24, 4)


@pytest.fixture(scope="module")
def rig(tmp_path_factory, clean):
    root = tmp_path_factory.mktemp("rig")
    write_cameras_json(clean, root)
    return root


@pytest.fixture(scope="module")
def film(tmp_path_factory, clean):
    root = tmp_path_factory.mktemp("film")
    write_transforms(clean, root, True, clean.names[2:5], range(4))
    return root


def poses_array(data, rows):
    rows = rows.copy()
    how = data.draw(st.integers(0, 5))
    if how == 0:
        shape = data.draw(st.sampled_from([(0,), (17,), (10, 16), (9, 17), (10, 17, 1), (2, 85), ()]))
        return np.resize(rows, shape)
    if how == 1:
        kinds = [np.int8, np.float16, np.complex64, "U5", bool, "datetime64[s]", "S3", object]
        kind = data.draw(st.sampled_from(kinds))
        return rows.astype(np.int64).astype(kind) if kind == "datetime64[s]" else rows.astype(kind)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 16))
        with np.errstate(all="ignore"):
            rows[at] = data.draw(NUMBERS)
    return rows


@MANY
@given(data=st.data())
def test_poses_bounds(data, clean):
    import io

    buffer = io.BytesIO()
    np.save(buffer, poses_array(data, clean.rows), allow_pickle=True)
    content = buffer.getvalue()
    how = data.draw(st.integers(0, 6))
    if how == 0:
        content = content[: data.draw(st.integers(0, len(content)))]
    elif how == 1:
        content = bytearray(content)
        content[data.draw(st.integers(0, 127))] = data.draw(st.integers(0, 255))
        content = bytes(content)
    path = clean.root / "poses_bounds.npy"
    whole = path.read_bytes()
    try:
        path.write_bytes(content)
        kind = data.draw(st.sampled_from(["auto", "box", "contracted", "ndc"]))
        outcome(lambda: read_n3dv(scene_config(bounds=kind), clean.root))
    finally:
        path.write_bytes(whole)


@MANY
@given(data=st.data())
def test_cameras_json(data, rig):
    path = rig / "cameras.json"
    whole = path.read_bytes()
    try:
        path.write_bytes(cut(json.dumps(corrupted(json.loads(whole), data)).encode(), data))
        outcome(lambda: read_rig(scene_config(reader="rig"), rig))
    finally:
        path.write_bytes(whole)


@MANY
@given(data=st.data())
def test_transforms_json(data, film):
    path = film / "transforms.json"
    whole = path.read_bytes()
    try:
        path.write_bytes(cut(json.dumps(corrupted(json.loads(whole), data)).encode(), data))
        more = data.draw(
            st.sampled_from([{}, {"capture": "film"}, {"capture": "rig"}, {"near": 1.0, "far": 5.0}])
        )
        outcome(lambda: read_nerfstudio(scene_config(reader="nerfstudio", **more), film))
    finally:
        path.write_bytes(whole)


@MANY
@given(data=st.data())
def test_scene_files(data, clean, tmp_path_factory):
    tree = {
        "scene": {
            "name": "kitchen",
            "reader": "n3dv",
            "root": str(clean.root),
            "width": 16,
            "num_frames": 3,
            "held_out": ["cam00"],
            "drop": ["cam09"],
            "offsets": {CAMERA: 0.5},
            "aabb": [[-1, -1, -1], [1, 1, 1]],
            "bounds": "box",
        }
    }
    path = tmp_path_factory.mktemp("yaml") / "kitchen.yaml"
    path.write_bytes(cut(yaml.safe_dump(corrupted(tree, data), allow_unicode=True).encode(), data))

    def read():
        config = Config()
        merge(config, scene_tree(str(path)), str(path))
        return load_scene(config.scene, str(path.parent))

    outcome(read)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_texts_are_read_in_the_encodings_that_json_and_yaml_know(encoding, rig, tmp_path):
    tree = json.loads((rig / "cameras.json").read_text())
    tree["cameras"][1]["name"] = "Küche"
    whole = (rig / "cameras.json").read_bytes()
    try:
        (rig / "cameras.json").write_bytes(json.dumps(tree, ensure_ascii=False).encode(encoding))
        assert read_rig(scene_config(reader="rig"), rig).cameras[1].name == "Küche"
    finally:
        (rig / "cameras.json").write_bytes(whole)
    if encoding != "utf-32":  # YAML knows -8 and -16
        (tmp_path / "x.yaml").write_bytes("scene: {name: Küche}".encode(encoding))
        assert scene_tree(str(tmp_path / "x.yaml"))["scene"]["name"] == "Küche"
