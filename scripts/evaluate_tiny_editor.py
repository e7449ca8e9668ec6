"""Judge a trained demonstration editor on pictures and wordings that it has not seen, and write its model
card.

    python scripts/evaluate_tiny_editor.py i4d/assets/tiny-ip2p --worlds 64 --photos 16

For every (picture, edit): the edited picture's distance to its own target and to every other edit's target.
Held out: worlds of other seeds, two photographs, and for every edit one phrase and three sentence templates.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from tiny_editor_bank import HELD_OUT_PHOTOS, Pairs, photo_pairs, world_pairs
from transformers import CLIPTextModel, CLIPTokenizer

from i4d.scenes.repertoire.objects import OBJECTS
from i4d.scenes.repertoire.phrases import EDITS, LOOKS, wordings


class Judge:
    """The editor's parts and a plain sampler (guidance by the three-branch formula only where a scale is not
    1).
    """

    def __init__(self, folder: Path, device: str) -> None:
        kind = torch.float32
        self.vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=kind).to(device).eval()
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=kind).to(device).eval()
        self.text = CLIPTextModel.from_pretrained(folder / "text_encoder", torch_dtype=kind).to(device).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
        self.device = device

    @torch.no_grad()
    def edit(
        self, images: torch.Tensor, sentences: list[str], steps: int, s_text: float, s_image: float
    ) -> torch.Tensor:
        """Return edited images (B, 3, h, w) in [0, 1]; one sentence per image."""
        tokens = lambda s: self.tokenizer(
            s, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids.to(self.device)
        words, none = (
            self.text(tokens(sentences)).last_hidden_state,
            self.text(tokens([""] * len(sentences))).last_hidden_state,
        )
        condition = self.vae.encode(images * 2 - 1).latent_dist.mode()
        x = torch.randn(condition.shape, generator=torch.Generator("cpu").manual_seed(0)).to(self.device)
        self.scheduler.set_timesteps(steps)
        for t in self.scheduler.timesteps:
            full = self.unet(torch.cat([x, condition], 1), t, words).sample
            if s_text != 1 or s_image != 1:
                e_i = self.unet(torch.cat([x, condition], 1), t, none).sample
                e_0 = self.unet(torch.cat([x, condition * 0], 1), t, none).sample
                full = e_0 + s_image * (e_i - e_0) + s_text * (full - e_i)
            x = self.scheduler.step(full, t, x).prev_sample
        return (self.vae.decode(x / self.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)


def psnr(a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Return PSNR in dB of (B, 3, h, w) pairs in [0, 1], inside a (B, h, w) mask where given."""
    error = ((a - b) ** 2).mean(1)
    mean = (
        error.mean((-1, -2))
        if mask is None
        else (error * mask).sum((-1, -2)) / mask.sum((-1, -2)).clamp_min(1)
    )
    return -10 * torch.log10(mean.clamp_min(1e-10))


def judge_all(
    judge: Judge, chunks: list[Pairs], args: argparse.Namespace
) -> tuple[list[dict], list[torch.Tensor]]:
    """Return one row per (picture, edit) and a few strips (original, edited, target) to look at."""
    rng, rows, strips = random.Random(7), [], []
    for pairs in chunks:
        for e, edit in enumerate(EDITS):
            pick = pairs.valid[:, e].nonzero()[:, 0]
            for part in pick.split(args.batch) if len(pick) else ():
                stack = pairs.images[part, 0].float() / 255
                sentences = [rng.choice(wordings(edit).held_out) for _ in part]
                out = judge.edit(stack[:, 0], sentences, args.steps, args.text_guidance, args.image_guidance)
                own, mask = stack[:, 1 + e], pairs.mask[part, 0, e].float()
                inside = psnr(out, own, mask) if edit in OBJECTS else psnr(out, own)
                distance = ((out[:, None] - stack[:, 1:]) ** 2).mean((-1, -2, -3))
                distance[~pairs.valid[part]] = float("inf")
                nearest = distance.argmin(1) == e
                unedited = psnr(stack[:, 0], own, mask if edit in OBJECTS else None)
                for i, sentence in enumerate(sentences):
                    rows.append(
                        {
                            "edit": edit,
                            "sentence": sentence,
                            "psnr_db": psnr(out, own)[i].item(),
                            "inside_db": inside[i].item(),
                            "nearest": bool(nearest[i]),
                            "unedited_db": unedited[i].item(),
                        }
                    )
                if len(strips) < 2 * len(EDITS) and not any(s[0] == edit for s in strips[-1:]):
                    strips.append((edit, torch.cat([stack[0, 0], out[0], own[0]], -1)))
    return rows, strips


def summary(rows: list[dict]) -> dict:
    """Return the figures of the model card."""
    mean = lambda x: sum(x) / max(1, len(x))
    table = {}
    for edit in EDITS:
        mine = [r for r in rows if r["edit"] == edit]
        in_db = {
            key: round(mean([r[key] for r in mine]), 2) for key in ("psnr_db", "unedited_db", "inside_db")
        }
        table[edit] = {"cases": len(mine)} | in_db
        table[edit]["nearest"] = round(mean([r["nearest"] for r in mine]), 3)
    objects = [r for r in rows if r["edit"] in OBJECTS]
    return {
        "cases": len(rows),
        "nearest_share": round(mean([r["nearest"] for r in rows]), 4),
        "psnr_db": round(mean([r["psnr_db"] for r in rows]), 2),
        "psnr_db_without_objects": round(mean([r["psnr_db"] for r in rows if r["edit"] not in OBJECTS]), 2),
        "object_inside_db": round(mean([r["inside_db"] for r in objects]), 2),
        "edits": table,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--worlds", type=int, default=64)
    parser.add_argument("--photos", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--text-guidance", type=float, default=1.0)
    parser.add_argument("--image-guidance", type=float, default=1.0)
    parser.add_argument("--pictures", type=Path, help="write a PNG of original, edited, target here")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    chunks = [
        *world_pairs(args.worlds, 990001, device),
        photo_pairs(HELD_OUT_PHOTOS, args.photos, 990002, device),
    ]
    rows, strips = judge_all(Judge(args.folder, device), chunks, args)
    figures = summary(rows)
    for edit, row in figures["edits"].items():
        print(
            f"{edit:16s} {row['cases']:4d}  {row['psnr_db']:6.2f} dB  inside {row['inside_db']:6.2f} "
            f"(was {row['unedited_db']:5.2f})  "
            f"nearest {row['nearest']:.3f}"
        )
    print(
        {k: v for k, v in figures.items() if k != "edits"},
        f"steps {args.steps} guidance {args.text_guidance}/{args.image_guidance}",
    )
    known = [{"name": e, "phrases": list(LOOKS.get(e, wordings(e).training[:3]))} for e in EDITS]
    if args.json:
        args.json.write_text(json.dumps({**figures, "steps": args.steps, "instructions": known}, indent=1))
    if args.pictures:
        columns = [torch.cat([s for _, s in strips[i::2]], 1) for i in range(2)]
        height = min(c.shape[1] for c in columns)
        sheet = (torch.cat([c[:, :height] for c in columns], 2).permute(1, 2, 0) * 255).byte().cpu().numpy()
        Image.fromarray(sheet).save(args.pictures)


if __name__ == "__main__":
    main()
