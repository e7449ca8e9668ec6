"""The real editor under the real driver, on threads: the same frames whatever the number of editors."""

import pytest
from null_rig import NullRig, config, scene

from i4d.driver.plan import make_plan
from i4d.exec.local import LocalExecutor
from i4d.exec.protocol import ServiceSpec
from i4d.types import EditSettings

SHORT = {"rounds": 1, "key_steps": 2, "diffusion_steps": 2, "refine_diffusion_steps": 1}


class EditorRig(NullRig):
    """A null trainer with toy InstructPix2Pix editors."""

    weights = ""

    def specs(self, editors, delay_s=0.0):
        trainer, *others = super().specs(editors, delay_s)
        kwargs = {"store": self.folder.store.uri, "weights": self.weights, "device": "cpu", "num_threads": 1}
        path = "i4d.services.editor:EditorService"
        return [trainer, *(ServiceSpec(s.name, path, {**kwargs, "name": s.name}, threads=1) for s in others)]


def digests(folder, weights, editors):
    plan = make_plan(scene(), config(**SHORT, restview_refine_diffusion_steps=2), EditSettings("night", 3.0, 1.5))
    rig = EditorRig(folder, plan)
    rig.weights = str(weights)
    rig.go(LocalExecutor(), editors=editors)
    tables = {index: manifest["table"] for index, manifest in rig.folder.manifests().items()}
    return tables, rig.kinds()


@pytest.mark.usefixtures("one_thread")
def test_the_frames_do_not_depend_on_the_number_of_editors(tmp_path, tiny_editor_folder):
    one, kinds = digests(tmp_path / "one", tiny_editor_folder, 1)
    two, _ = digests(tmp_path / "two", tiny_editor_folder, 2)
    assert one and one == two
    assert "RoundCommitted" in kinds and "WindowRetried" not in kinds
