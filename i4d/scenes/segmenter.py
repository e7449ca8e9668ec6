"""Picking an object by its name: a text-prompted segmentation model (CLIPSeg, Lueddecke and Ecker, CVPR 2022)
in transformers' format.

None is bundled: `local.segmenter` names a folder or hub id, such as CIDAS/clipseg-rd64-refined.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from i4d.errors import WeightsError

EXAMPLE = "CIDAS/clipseg-rd64-refined"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the model's training pictures


class ObjectPicker:
    """Says where in a picture something is that a text names."""

    def __init__(self, model: Any, tokenizer: Any, device: torch.device | str = "cpu") -> None:
        self._model, self._tokenizer, self._device = model.to(device).eval(), tokenizer, device
        self._side = model.config.vision_config.image_size

    @torch.inference_mode()
    def mask(self, image: np.ndarray, text: str, threshold: float) -> np.ndarray:
        """Return uint8 (height, width), 255 where the model gives the text at least `threshold`
        (probability), of a uint8 image (height, width, 3)."""
        height, width = image.shape[:2]
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float().to(self._device) / 255
        pixels = F.interpolate(pixels, (self._side, self._side), mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(v, device=self._device).view(1, 3, 1, 1) for v in (_MEAN, _STD))
        words = self._tokenizer([text], return_tensors="pt", truncation=True).to(self._device)
        answer = self._model(
            input_ids=words.input_ids, attention_mask=words.attention_mask, pixel_values=(pixels - mean) / std
        )
        found = answer.logits.reshape(1, 1, *answer.logits.shape[-2:]).sigmoid()
        found = F.interpolate(found, (height, width), mode="bilinear", align_corners=False)[0, 0]
        return ((found >= threshold).to(torch.uint8) * 255).cpu().numpy()


def load_picker(source: str, device: torch.device | str = "cpu") -> ObjectPicker:
    """Return the picker in a folder or of a hub id; WeightsError where there is none."""
    from transformers import (
        AutoTokenizer,
        CLIPSegForImageSegmentation,
    )  # takes seconds: only where something is picked

    try:
        model = CLIPSegForImageSegmentation.from_pretrained(source, use_safetensors=True)
        return ObjectPicker(model, AutoTokenizer.from_pretrained(source), device)
    except (OSError, ValueError, KeyError, ImportError) as err:
        told = str(err).splitlines()[0]
        where = "folder" if Path(source).exists() else "folder or reachable hub id"
        raise WeightsError(
            f"local.segmenter {source}: no {where} of a CLIPSeg ({told})",
            f"such as {EXAMPLE}, with safetensors",
        ) from None
