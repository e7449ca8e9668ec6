"""Train the demonstration editor `tiny-ip2p` on pairs made by the project. One GPU, 25 minutes at most;
resumable.

    python scripts/train_tiny_editor.py --work WORK --out i4d/assets/tiny-ip2p --minutes 15
    python scripts/train_tiny_editor.py --work WORK --out OUT --minutes 15 --stop-after 550   # stop early ...
    python scripts/train_tiny_editor.py --work WORK --out OUT --minutes 15                    # ... and go on

Stages: autoencoder; latents of all pairs, once; UNet with text encoder on the latents. The learning rate
follows the share of the time budget that is spent, so a resumed training ends where an uninterrupted one
would. Half of the steps train with anchor attention (the second frame of a pair looks at the first), a few
percent drop the text, the image or both.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tiny_editor_bank import TRAIN_PHOTOS, Pairs, photo_pairs, world_pairs
from tiny_editor_models import (
    MAX_TOKENS,
    build_scheduler,
    build_text_encoder,
    build_tokenizer,
    build_unet,
    build_vae,
    count,
)
from torch import Tensor
from transformers import CLIPTokenizer

from i4d.scenes.repertoire.objects import OBJECTS
from i4d.scenes.repertoire.phrases import EDITS, FILLERS, stray_words, varied, wordings
from i4d.scenes.repertoire.pictures import PAINTERLY


class PairAttention:
    """Self-attention over pairs: where `anchored`, the second frame of each pair takes the first one's keys
    and values.
    """

    anchored: Tensor  # a 0-d bool on the device: both kinds of step then share one compiled graph

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **_):
        anchor = hidden_states.unflatten(0, (-1, 2))[:, :1].expand(-1, 2, -1, -1).flatten(0, 1)
        source = torch.where(PairAttention.anchored, anchor, hidden_states)
        q, k, v = attn.to_q(hidden_states), attn.to_k(source), attn.to_v(source)
        q, k, v = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return attn.to_out[0](out)


class Clock:
    """Seconds spent over all sessions of this training, as a share of its budget."""

    def __init__(self, budget_s: float, spent_s: float, stop_after_s: float) -> None:
        self.budget_s, self.before_s, self.stop_after_s, self.start = (
            budget_s,
            spent_s,
            stop_after_s,
            time.monotonic(),
        )

    @property
    def spent_s(self) -> float:
        return self.before_s + time.monotonic() - self.start

    @property
    def over(self) -> bool:
        return self.spent_s >= self.budget_s or time.monotonic() - self.start >= self.stop_after_s


def pictures(x: Tensor) -> Tensor:
    """uint8 to [-1, 1], the autoencoder's range."""
    return x.float() / 127.5 - 1


def train_vae(vae, pairs: list[Pairs], seconds: float, device: str, batch: int) -> None:
    """Fit the autoencoder to originals and targets alike: squared error plus the error of gradients (lines
    stay sharp).
    """
    bank = torch.cat([p.images.flatten(0, 2) for p in pairs])
    optimiser = torch.optim.AdamW(vae.parameters(), 2e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    start, step = time.monotonic(), 0
    while (spent := time.monotonic() - start) < seconds:
        for group in optimiser.param_groups:
            group["lr"] = (
                2e-3
                * min(1, (step + 1) / 100)
                * (0.02 + 0.98 * math.cos(0.5 * math.pi * spent / seconds) ** 2)
            )
        x = pictures(bank[torch.randint(len(bank), (batch,), device=device)])
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            posterior = vae.encode(x).latent_dist
            y = vae.decode(posterior.sample()).sample
        y = y.float()
        slope = (y - x).diff(dim=-1).square().mean() + (y - x).diff(dim=-2).square().mean()
        loss = F.mse_loss(y, x) + 0.5 * slope + 1e-6 * posterior.kl().mean() / x[0].numel()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        step += 1
        if step % 200 == 0:
            psnr = -10 * math.log10(F.mse_loss(y, x).item() / 4)
            print(f"autoencoder step {step} {spent:.0f} s: {psnr:.2f} dB", flush=True)


@torch.no_grad()
def encode(vae, pairs: Pairs, device: str) -> Tensor:
    """Return the modes (P, 2, 1 + E, 4, h, w) in bfloat16, unscaled."""
    flat = pairs.images.flatten(0, 2)
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        parts = [vae.encode(pictures(x)).latent_dist.mode().to(torch.bfloat16) for x in flat.split(512)]
    return torch.cat(parts).unflatten(0, pairs.images.shape[:3])


def token_bank(tokenizer, per_edit: int, seed: int, device: str) -> tuple[Tensor, Tensor]:
    """Return token ids (E, per_edit, MAX_TOKENS) of varied training sentences, and those of the empty
    sentence.
    """
    rng = random.Random(seed)
    stray = stray_words()
    rows = [[varied(rng.choice(wordings(e).training), e, rng, stray) for _ in range(per_edit)] for e in EDITS]
    ids = [
        tokenizer(
            r, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        ).input_ids
        for r in rows
    ]
    empty = tokenizer([""], padding="max_length", max_length=MAX_TOKENS, return_tensors="pt").input_ids
    return torch.stack(ids).to(device), empty.to(device)


def draw(
    latents: Tensor, weights: Tensor, tokens: Tensor, empty: Tensor, scale: float, pairs: int
) -> tuple[Tensor, ...]:
    """Return (condition, target, token ids, object flag) of `pairs` random pairs, two rows each."""
    device = latents.device
    row = torch.randint(len(latents), (pairs,), device=device)
    edit = torch.multinomial(weights[row], 1)[:, 0]
    condition = latents[row, :, 0].float()
    target = latents[row[:, None], torch.arange(2, device=device)[None], (edit + 1)[:, None]].float() * scale
    ids = tokens[edit, torch.randint(tokens.shape[1], (pairs,), device=device)]
    drop = torch.rand(pairs, device=device)
    ids = torch.where((drop < 0.06)[:, None], empty, ids)  # no text: 6 %, of which half has no image either
    condition = condition * ((drop >= 0.03) & (drop < 0.97)).view(-1, 1, 1, 1, 1)
    is_object = edit >= len(EDITS) - len(OBJECTS)
    return condition.flatten(0, 1), target.flatten(0, 1), ids, is_object.repeat_interleave(2)


def unet_loss(unet, text_encoder, alphas_bar: Tensor, batch: tuple[Tensor, ...], scale: float) -> Tensor:
    """Return the v-prediction loss; a fifth of the pairs at the last timestep, where the whole answer must
    come from picture and sentence. What an object edit changes counts five times: objects are small."""
    condition, target, ids, is_object = batch
    pairs, device = len(ids), target.device
    t = torch.randint(0, 1000, (pairs,), device=device)
    t = torch.where(torch.rand(pairs, device=device) < 0.2, 999, t).repeat_interleave(2)
    a, s = (x[t].view(-1, 1, 1, 1) for x in (alphas_bar.sqrt(), (1 - alphas_bar).sqrt()))
    noise = torch.randn_like(target)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        words = text_encoder(ids).last_hidden_state.repeat_interleave(2, 0)
        noisy = torch.cat([a * target + s * noise, condition], 1).to(memory_format=torch.channels_last)
        v = unet(noisy, t, encoder_hidden_states=words, return_dict=False)[0].float()
    weight = 1 + 4 * ((target - condition * scale).abs().mean(1, keepdim=True) > 0.1) * is_object.view(
        -1, 1, 1, 1
    )
    return (weight * (v - (a * noise - s * target)) ** 2).mean()


def save(out: Path, parts: dict, card: dict) -> None:
    """Write the editor as a diffusers folder in fp16."""
    for name, part in parts.items():
        part.half().save_pretrained(out / name) if hasattr(part, "half") else part.save_pretrained(out / name)
    (out / "model_index.json").write_text(
        json.dumps({"_class_name": "StableDiffusionInstructPix2PixPipeline"})
    )
    (out / "training.json").write_text(json.dumps(card, indent=1))


def initial_state(folder: Path, vae, unet, text_encoder) -> dict:
    """Return a training state that starts from a finished editor: its weights, a fresh optimiser."""
    vae.load_state_dict(type(vae).from_pretrained(folder / "vae").state_dict())
    scale = type(vae).load_config(folder / "vae")["scaling_factor"]
    unet.load_state_dict(type(unet).from_pretrained(folder / "unet").state_dict())
    text_encoder.load_state_dict(type(text_encoder).from_pretrained(folder / "text_encoder").state_dict())
    return {"vae": {k: v.clone() for k, v in vae.state_dict().items()}, "scale": scale}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="checkpoints between sessions")
    parser.add_argument(
        "--out", type=Path, required=True, help="the finished editor (diffusers folder, fp16)"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=15,
        help="time budget over all sessions, pairs and autoencoder included",
    )
    parser.add_argument(
        "--stop-after", type=float, default=1e9, help="seconds after which this session stops, to be resumed"
    )
    parser.add_argument("--worlds", type=int, default=10000)
    parser.add_argument("--photos", type=int, default=1600)
    parser.add_argument("--batch", type=int, default=192)
    parser.add_argument(
        "--vae-share", type=float, default=0.11, help="share of the budget for the autoencoder"
    )
    parser.add_argument(
        "--init", type=Path, help="start from the weights of a finished editor instead of from nothing"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws other worlds and crops")
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--no-compile", action="store_true")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    args.work.mkdir(parents=True, exist_ok=True)
    file = args.work / "state.pt"
    state = torch.load(file, weights_only=True, map_location=device) if file.exists() else {}
    clock = Clock(60 * args.minutes, state.get("spent_s", 0.0), args.stop_after)
    sentences = [s for e in EDITS for s in wordings(e).training] + list(FILLERS)
    tokenizer = (
        CLIPTokenizer.from_pretrained(args.init / "tokenizer")
        if args.init
        else build_tokenizer(sentences, args.work / "tokenizer")
    )
    vae, unet, text_encoder = (
        build_vae().to(device),
        build_unet().to(device),
        build_text_encoder(tokenizer).to(device),
    )
    print(
        f"{count(vae, unet, text_encoder) / 1e6:.2f} M parameters, "
        f"{2 * count(vae, unet, text_encoder) / 2**20:.1f} MiB in fp16"
    )
    if args.init and not state:
        state = initial_state(args.init, vae, unet, text_encoder)
    if "vae" in state:
        vae.load_state_dict(state["vae"])
    else:
        some = list(world_pairs(max(32, args.worlds // 8), 1, device)) + [
            photo_pairs(TRAIN_PHOTOS, max(4, args.photos // 8), 2, device)
        ]
        print(f"{clock.spent_s:.0f} s: pairs for the autoencoder", flush=True)
        train_vae(vae, some, args.vae_share * clock.budget_s, device, 64 if device == "cuda" else 4)
        state = {"vae": {k: v.clone() for k, v in vae.state_dict().items()}}
    vae.eval().requires_grad_(False)
    chunks = [
        (encode(vae, p, device), p.valid) for p in world_pairs(args.worlds, 3 + 100 * args.seed, device)
    ]
    photos = photo_pairs(TRAIN_PHOTOS, args.photos, 4 + 100 * args.seed, device)
    chunks.append((encode(vae, photos, device), photos.valid))
    latents, valid = (torch.cat(x) for x in zip(*chunks, strict=True))
    scale = state.get("scale") or 1 / float(latents[: args.worlds : 7].float().std())
    vae.register_to_config(scaling_factor=scale)
    print(f"{clock.spent_s:.0f} s: {tuple(latents.shape)} latents, scaling factor {scale:.3f}", flush=True)
    share = torch.tensor(
        [2.0 if e in OBJECTS else 1.6 if e in PAINTERLY else 0.9 for e in EDITS], device=device
    )
    train_unet(
        args,
        clock,
        state,
        dict(unet=unet, text_encoder=text_encoder, tokenizer=tokenizer, vae=vae),
        latents,
        share * valid,
        scale,
        file,
    )


def train_unet(
    args, clock: Clock, state: dict, parts: dict, latents: Tensor, weights: Tensor, scale: float, file: Path
) -> None:
    """Train UNet and text encoder until the clock is over, keep an average of the weights, and save it."""
    device = latents.device
    unet, text_encoder = parts["unet"].to(memory_format=torch.channels_last), parts["text_encoder"]
    own = dict(unet.attn_processors)
    PairAttention.anchored = torch.zeros((), dtype=torch.bool, device=device)
    unet.set_attn_processor({k: PairAttention() if "attn1" in k else p for k, p in own.items()})
    trained = [*unet.parameters(), *text_encoder.parameters()]
    optimiser = torch.optim.AdamW(
        trained, args.rate, betas=(0.9, 0.99), weight_decay=1e-3, fused=device.type == "cuda"
    )
    average = [p.detach().clone() for p in trained]
    step = state.get("step", 0)
    if "weights" in state:
        for p, a, w, m in zip(trained, average, state["weights"], state["average"], strict=True):
            p.data.copy_(w), a.copy_(m)
        optimiser.load_state_dict(state["optimiser"])
    tokens, empty = token_bank(parts["tokenizer"], 4000, 5 + 100 * args.seed, device)
    alphas_bar = build_scheduler().alphas_cumprod.to(device)
    model = unet if args.no_compile else torch.compile(unet)
    start_share = state.get("start_share", clock.spent_s / clock.budget_s)
    running = []
    while not clock.over:
        progress = (clock.spent_s / clock.budget_s - start_share) / (1 - start_share)
        lr = (
            args.rate
            * min(1, (step + 1) / 300)
            * (0.02 + 0.98 * math.cos(0.5 * math.pi * min(1, progress)) ** 2)
        )
        for group in optimiser.param_groups:
            group["lr"] = lr
        PairAttention.anchored.fill_(step % 2 == 1)
        loss = unet_loss(
            model,
            text_encoder,
            alphas_bar,
            draw(latents, weights, tokens, empty, scale, args.batch // 2),
            scale,
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0, foreach=True)
        optimiser.step()
        torch._foreach_lerp_(average, [p.detach() for p in trained], 1 - min(0.999, (step + 1) / (step + 20)))
        running.append(loss.detach())
        step += 1
        if step % 200 == 0:
            print(
                f"step {step} {clock.spent_s:.0f} s lr {lr:.1e} loss {torch.stack(running).mean():.4f}",
                flush=True,
            )
            running.clear()
    state = {
        "vae": parts["vae"].state_dict(),
        "scale": scale,
        "step": step,
        "spent_s": clock.spent_s,
        "start_share": start_share,
        "weights": [p.detach() for p in trained],
        "average": average,
        "optimiser": optimiser.state_dict(),
    }
    torch.save(state, file.with_suffix(".new"))
    file.with_suffix(".new").replace(file)
    for p, a in zip(trained, average, strict=True):
        p.data.copy_(a)
    unet.set_attn_processor(own)
    card = {
        "steps": step,
        "seconds": round(clock.spent_s),
        "batch": args.batch,
        "worlds": args.worlds,
        "photos": args.photos,
    }
    save(
        args.out,
        dict(
            unet=unet.to(memory_format=torch.contiguous_format),
            text_encoder=text_encoder,
            vae=parts["vae"],
            tokenizer=parts["tokenizer"],
            scheduler=build_scheduler(),
        ),
        card,
    )
    print(f"saved {args.out} after {step} steps, {clock.spent_s:.0f} s", flush=True)


if __name__ == "__main__":
    main()
