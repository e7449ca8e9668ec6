"""Does the picture follow the words? CLIP directional similarity and CLIP frame consistency.

Directional similarity (Gal et al., StyleGAN-NADA, 2021; the measure of InstructPix2Pix and
Instruct-NeRF2NeRF): the cosine between what changed in the picture and what changed in its caption, both as
CLIP embeddings. Frame consistency (Esser et al., Gen-1, 2023): the mean cosine of neighbouring frames'
embeddings. Both in [-1, 1], higher is better.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub import try_to_load_from_cache
from torch import Tensor

from i4d.errors import WeightsError

HUB_DEFAULT = "openai/clip-vit-large-patch14"
HOW = (
    f"set I4D_CLIP to a folder with a transformers CLIP (such as {HUB_DEFAULT}), or download it once "
    "into the hub's cache"
)
_MEAN, _STD = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)  # CLIP's own training pictures


def directional_similarity(
    before: Tensor, after: Tensor, caption_before: Tensor, caption_after: Tensor
) -> Tensor:
    """Return the cosine of (after - before) and (caption_after - caption_before) for embeddings (n, d) and
    (d,): (n,).

    Embeddings are brought to unit length first, as in the sources. 0 where an image did not change at all.
    """
    images = F.normalize(after, dim=-1) - F.normalize(before, dim=-1)
    words = F.normalize(caption_after, dim=-1) - F.normalize(caption_before, dim=-1)
    return F.cosine_similarity(images, words.expand_as(images), dim=-1)


def frame_consistency(frames: Tensor) -> Tensor:
    """Return the cosine of each frame's embedding and the next one's, for embeddings (time, d): (time -
    1,).
    """
    return F.cosine_similarity(frames[:-1], frames[1:], dim=-1)


class ClipEmbedder:
    """A transformers CLIP that turns pictures and sentences into embeddings."""

    def __init__(self, model: Any, tokenizer: Any, source: str, device: torch.device | str = "cpu") -> None:
        self.source = source
        self._model, self._tokenizer, self._device = model.to(device).eval(), tokenizer, device
        self._side = model.config.vision_config.image_size

    @torch.inference_mode()
    def images(self, images: Tensor, batch: int = 16) -> Tensor:
        """Return embeddings (n, d), float32 on the CPU, of images (n, 3, h, w) in [0, 1]: short side scaled,
        centre cut out.
        """
        return torch.cat([self._of_pixels(images[i : i + batch]) for i in range(0, len(images), batch)])

    def _of_pixels(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        scale = self._side / min(height, width)
        size = (max(self._side, round(height * scale)), max(self._side, round(width * scale)))
        x = F.interpolate(images.float(), size, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (size[0] - self._side) // 2, (size[1] - self._side) // 2
        x = x[..., top : top + self._side, left : left + self._side]
        mean, std = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (_MEAN, _STD))
        vision = self._model.vision_model(pixel_values=((x - mean) / std).to(self._device))
        return self._model.visual_projection(vision.pooler_output).float().cpu()

    @torch.inference_mode()
    def sentences(self, sentences: Sequence[str]) -> Tensor:
        """Return embeddings (n, d), float32 on the CPU."""
        tokens = self._tokenizer(list(sentences), padding=True, truncation=True, return_tensors="pt").to(
            self._device
        )
        text = self._model.text_model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        return self._model.text_projection(text.pooler_output).float().cpu()


def find_clip(device: torch.device | str = "cpu") -> ClipEmbedder:
    """Return the CLIP of I4D_CLIP, or the default one from the hub's cache; nothing is downloaded.

    WeightsError says what was looked for and both ways out.
    """
    place = os.environ.get("I4D_CLIP", "")
    if place and not Path(place).is_dir():
        raise WeightsError(f"I4D_CLIP={place}: no such folder", HOW)
    source = place or HUB_DEFAULT
    if not place and not isinstance(try_to_load_from_cache(HUB_DEFAULT, "config.json"), str):
        raise WeightsError(f"CLIP: no model found ({HUB_DEFAULT} is not in the hub's cache)", HOW)
    from transformers import AutoTokenizer, CLIPModel  # takes seconds: only where there is something to load

    try:
        model = CLIPModel.from_pretrained(source, local_files_only=True)
        return ClipEmbedder(
            model, AutoTokenizer.from_pretrained(source, local_files_only=True), source, device
        )
    except (OSError, ValueError) as err:
        where = place or f"{HUB_DEFAULT} in the hub's cache"
        raise WeightsError(f"CLIP: no model found ({where}: {type(err).__name__})", HOW) from None


def caption_pair(prompt: str) -> tuple[str, str]:
    """Return captions before and after for an instruction that came without any: "a photo" and the
    instruction's own words.

    A given pair (a true description of the scene, and of the edited one) measures better; which was used
    stands in the figures.
    """
    return "a photo", f"a photo after this edit: {prompt.strip().rstrip('?.!')}"
