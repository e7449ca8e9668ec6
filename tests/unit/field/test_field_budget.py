"""The predicted sizes of a field against a real one, and against the cap of the largest setting."""

import torch

from i4d.config import FieldConfig
from i4d.field.budget import parameter_counts, peak_bytes
from i4d.field.fit import shape_from
from i4d.field.model import StreamingField
from i4d.field.spaces import BoxSpace, NdcSpace


def test_counts_are_those_of_a_real_field():
    config = FieldConfig(grid_end=20000, density_components=[6, 3, 2], colour_components=[8, 4, 0])
    space = BoxSpace(((-1.0, -1.0, -1.0), (1.0, 2.0, 1.5)), 0.1, 9.0)
    field = StreamingField.random(shape_from(config, 11), space, 20000, torch.Generator().manual_seed(0))
    total, read = parameter_counts(config, space, 11)
    assert total == sum(t.numel() for name, t in field.tensors.items() if "." in name)
    instant = field.at(3, grad=True)
    instant.density(torch.zeros(1, 3))
    instant.features(torch.zeros(1, 3))
    moment = sum(leaf.tensor.numel() for leaf in instant.leaves if "." in leaf.name)
    assert moment <= read <= 1.6 * moment


def test_the_largest_public_setting_fits_20_gb():
    space = NdcSpace(((-1.5, -1.67, -1.0), (1.5, 1.67, 1.0)), 1.0, 50.0, (2.0, 2.0), 0.0, (0.0, 0.0))
    for num_frames in (50, 300):
        assert 1e9 < peak_bytes(FieldConfig(grid_end=640**3), space, num_frames) < 20e9
