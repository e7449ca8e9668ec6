"""What results follow from, settled once: in the same words by the driver and by the workers."""

import dataclasses
import importlib.util
import shutil

import pytest
from null_rig import scene

from i4d import identity
from i4d.config import Config
from i4d.driver.pool import require_identity
from i4d.editors.instruct_pix2pix import kind
from i4d.editors.instruct_pix2pix.config import InstructPix2PixConfig
from i4d.editors.instruct_pix2pix.load import load_editor
from i4d.editors.instruct_pix2pix.weights import HUB_DEFAULT, pinned
from i4d.errors import IdentityError, WeightsError
from i4d.exec.placement import Peaks, place
from i4d.exec.protocol import NodeResources, Resources
from i4d.fields.vector_matrix.config import VectorMatrixConfig
from i4d.fields.vector_matrix.fit import identity_with
from i4d.launch import specs_of
from i4d.schedules.key_frame import make_plan
from i4d.services.editor import EditorService
from i4d.services.trainer import TrainerScene, TrainerService
from i4d.store import digests
from i4d.store.run_folder import RunFolder

REVISION = "0123456789abcdef0123456789abcdef01234567"


def config(weights, **field):
    out = Config()
    out.editor.weights = str(weights)
    out.editor.attention = "anchor"  # which follows from the number of cameras
    small = {"grid_start": 1000, "grid_end": 1000, "growth_at": [], "samples": 6, "proposals": 12, "rays": 32}
    for key, value in {**small, **field}.items():
        setattr(out.field, key, value)
    return out


def trainer(tmp_path, field):
    parts = scene()
    known = TrainerScene(parts.cameras, parts.bounds, parts.num_frames, parts.train_views)
    return TrainerService(str(tmp_path / "store"), known, field, device="cpu", num_threads=1)


def test_driver_and_workers_say_the_same(tiny_editor_folder, tmp_path, one_thread):
    settings = config(tiny_editor_folder)
    ours = identity.settle(settings, "cpu")
    editor = EditorService(
        str(tmp_path / "store"),
        editor=dataclasses.replace(settings.editor, weights=str(tiny_editor_folder)),
        flow=settings.flow,
        device="cpu",
    )
    require_identity(editor.warm_up(), ours, ("editor", "flow"))
    require_identity(trainer(tmp_path, settings.field).warm_up(), ours, ("field",))


def test_a_worker_with_other_weights_settings_or_kernels_is_refused(tiny_editor_folder, tmp_path, one_thread):
    settings = config(tiny_editor_folder)
    ours = identity.settle(settings, "cpu")
    copy = shutil.copytree(tiny_editor_folder, tmp_path / "editor")
    file = next((copy / "vae").glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    elsewhere = InstructPix2PixConfig(weights=str(copy), dtype="float32")
    other = EditorService(str(tmp_path / "store"), editor=elsewhere, device="cpu")
    with pytest.raises(IdentityError, match="another editor"):
        require_identity(other.warm_up(), ours, ("editor",))
    for change in ({"lr_grid": 0.01}, {"kernels": "graphs"}):
        field = dataclasses.replace(settings.field, **change)
        theirs = trainer(tmp_path, field).warm_up()
        wanted = dataclasses.replace(ours, field=named(field, field.kernels))
        expected = ours if "lr_grid" in change else wanted
        with pytest.raises(IdentityError, match="another field"):
            require_identity(theirs, expected, ("field",))


def named(config, kernels):
    return identity.field_identity(config, identity_with(config, kernels))


def opens(values):
    """Return what is "auto" anywhere in keyword arguments."""
    if dataclasses.is_dataclass(values):
        values = dataclasses.asdict(values)
    if isinstance(values, dict):
        return [found for key, value in values.items() if key != "device" for found in opens(value)]
    return [values] if values == "auto" else []


def test_no_auto_reaches_a_worker(tiny_editor_folder, tmp_path):
    settings = config(tiny_editor_folder, refit_loss="auto")
    chosen = identity.choose_editor(settings, "make it night", "cpu")
    folder, parts = RunFolder.create(tmp_path / "run", {}), scene()
    plan = make_plan(parts, settings, chosen.settings)
    placed = place(Resources((NodeResources("here", 2.0),)), settings.cluster, Peaks(), 1)
    specs = specs_of(settings, folder, parts, placed, chosen.place, plan.batch, plan.settings, True)
    assert len(specs) == 2
    for spec in specs:
        assert not opens(dict(spec.kwargs)), spec.name


@pytest.mark.parametrize("lpips, loss", [(True, "perceptual"), (False, "squared")])
def test_what_a_gpu_means(lpips, loss, tiny_editor_folder, monkeypatch, tmp_path):
    def files():
        if not lpips:
            raise WeightsError("none here")
        (tmp_path / "trunk").write_bytes(b"t")
        return tmp_path / "trunk", tmp_path / "trunk"

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(identity, "lpips_files", files)
    monkeypatch.setattr("i4d.services.identity.lpips_files", files)
    settings = config(tiny_editor_folder, refit_loss="auto")
    found = identity.settle(settings, "cuda")
    assert (settings.editor.dtype, settings.field.kernels, settings.field.refit_loss) == (
        "float16",
        "graphs",
        loss,
    )
    assert ("LPIPS" in found.field) == lpips and "float16" in found.editor
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    without = config(tiny_editor_folder)
    identity.settle(without, "cuda")
    assert without.field.kernels == "off"


def test_a_hub_id_is_pinned_to_the_revision_that_is_meant_now(monkeypatch, tmp_path):
    import huggingface_hub

    place = tmp_path / "snapshots" / REVISION / "unet" / "config.json"
    asked = []
    monkeypatch.setattr(
        huggingface_hub,
        "try_to_load_from_cache",
        lambda name, file, revision=None: asked.append((name, revision)) or str(place),
    )
    assert pinned("owner/name") == f"owner/name@{REVISION}"
    assert pinned("owner/name@v2") == f"owner/name@{REVISION}"
    assert asked == [("owner/name", None), ("owner/name", "v2")]
    assert pinned(f"owner/name@{REVISION}") == f"owner/name@{REVISION}" and len(asked) == 2
    settings = config("owner/name")
    found = identity.settle(settings, "cpu")
    assert settings.editor.weights == f"owner/name@{REVISION}" and settings.editor.weights in found.editor


def test_a_hub_id_that_nobody_knows_is_one_line(monkeypatch):
    import huggingface_hub

    class Hub:
        def model_info(self, name, **options):
            raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args, **options: None)
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    with pytest.raises(WeightsError, match="not in the local cache, and the hub does not tell") as caught:
        pinned(HUB_DEFAULT)
    assert "\n" not in str(caught.value)


def test_a_pinned_revision_is_what_is_loaded(monkeypatch):
    from diffusers import UNet2DConditionModel

    asked = {}

    def load_config(**options):
        asked.update(options)
        raise OSError("not in this test")

    monkeypatch.setattr(UNet2DConditionModel, "load_config", load_config)
    with pytest.raises(WeightsError):
        load_editor(f"owner/name@{REVISION}")
    assert asked == {
        "pretrained_model_name_or_path": "owner/name",
        "revision": REVISION,
        "subfolder": "unet",
    }


def test_every_byte_of_large_files_counts_and_is_read_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file, read = tmp_path / "weights", []
    plain = digests._read
    monkeypatch.setattr(digests, "_read", lambda path: read.append(path) or plain(path))
    file.write_bytes(bytes(3 << 20))
    first = digests.file_digest(file)
    monkeypatch.setattr(digests, "_known", {})  # as in another process
    assert digests.file_digest(file) == first and len(read) == 1
    data = bytearray(3 << 20)
    data[(3 << 19) + 17] = 1
    file.write_bytes(data)
    assert digests.file_digest(file) != first and len(read) == 2
    with pytest.raises(WeightsError, match="cannot be read"):
        digests.file_digest(tmp_path / "nothing")


def test_field_settings_all_count():
    base = named(VectorMatrixConfig(), "off")
    for option in dataclasses.fields(VectorMatrixConfig):
        value = getattr(VectorMatrixConfig(), option.name)
        if isinstance(value, str):
            other = "other"
        elif isinstance(value, list):
            other = [*value, 1]
        else:
            other = value + 1
        changed = dataclasses.replace(VectorMatrixConfig(), **{option.name: other})
        assert option.name == "kernels" or named(changed, "off") != base, option.name


def test_a_fit_alone_asks_for_no_weights_of_an_editor_or_of_flow(monkeypatch):
    def refuse(*args, **options):
        raise WeightsError("asked for")

    monkeypatch.setattr(identity, "find_estimator", refuse)
    monkeypatch.setattr(kind, "pinned", refuse)
    monkeypatch.setattr(kind.InstructPix2Pix, "weights_identity", refuse)
    settings = config(HUB_DEFAULT, refit_loss="auto")
    chosen = identity.choose_editor(settings, "", "cpu", edits=False)
    assert chosen.identity.field and not chosen.identity.editor and settings.field.refit_loss == "squared"
    assert identity.followed_from(settings, chosen, 1)["editor.weights"] == ""
    with pytest.raises(WeightsError, match="asked for"):
        identity.choose_editor(config(HUB_DEFAULT), "make it night", "cpu")
