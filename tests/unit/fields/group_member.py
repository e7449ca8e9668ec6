"""One member of a group of processes that fit the test scene: `python group_member.py RANK SIZE ADDRESS
STEPS [CAMERAS]`.

Prints the held-out PSNR, the rays seen by all and a digest of the field as one line of JSON. Size 1 is no
group.
"""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from test_field_fit import BOUNDS, FRAMES, TINY, cameras, picture, scene_bank  # noqa: E402

from i4d.fields.group import Group  # noqa: E402
from i4d.fields.vector_matrix.fit import Fitter  # noqa: E402
from i4d.fields.vector_matrix.image import render_image  # noqa: E402
from i4d.fields.vector_matrix.spaces import space_for  # noqa: E402
from i4d.metrics.image import psnr  # noqa: E402


def main():
    rank, size, address, steps = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    torch.set_num_threads(1)
    group = Group(rank, size, address, torch.device("cpu")) if size > 1 else None
    config = replace(TINY, lr_grid=0.05, lr_mlp=0.005, cameras=(*sys.argv[5:], "fixed")[0])
    fitter = Fitter(config, space_for(BOUNDS, cameras()), FRAMES, 0, group=group, views=(0, 1, 2, 3))
    fitter.begin("fit", steps)
    report = fitter.advance(scene_bank(), steps)
    image = render_image(fitter.field, fitter.render_settings(), cameras()[4], 1).rgb
    truth = torch.from_numpy(picture(cameras()[4], 1)[0]).float() / 255
    digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in fitter.field.tensors.values())).hexdigest()
    print(json.dumps({"db": float(psnr(image, truth)), "rays": report.rays, "digest": digest}))
    if group:
        group.leave()


if __name__ == "__main__":
    main()
