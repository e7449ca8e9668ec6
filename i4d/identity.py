"""What a run's results follow from, settled once, before the plan: weights, compute types, flow, kernels.

`settle` turns every "auto" of a configuration into what it means here, so that none reaches a worker. What
was settled is stored with the run (identity.json) and compared when it is resumed: a run never mixes two
editors, two flows or two kinds of fit without being told to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from i4d import config as cfg
from i4d.config import Config
from i4d.editors.card import EditorCard
from i4d.editors.registry import KINDS, editor_kind
from i4d.errors import ConfigError, WeightsError
from i4d.fields.registry import field_kind
from i4d.flow.find import find_estimator, raft_places
from i4d.metrics.perceptual import lpips_files
from i4d.services.identity import distance_identity, editor_identity, field_identity
from i4d.store.run_folder import RunFolder
from i4d.types import EditSettings, Identity

FILE = "identity.json"
Stage = Literal["fit", "edits"]
_UNSEEN = {"editor.memory_cap_gb", "scene.root", "storage_path"}  # results do not follow from these
_NEVER = ("scene.", "local.")  # what these say was carried out when the run was prepared


@dataclass(frozen=True, eq=False)
class Chosen:
    """The editor that a run uses: its place, its card, the settings that follow, the run's identity, and the
    name of its kind.
    """

    place: str
    card: EditorCard
    settings: EditSettings
    identity: Identity = Identity()
    kind: str = ""


# ------------------------------------------------------------------------------------------------ settling
def settle(config: Config, device: str, edits: bool = True) -> Identity:
    """Settle, in place, what a configuration leaves open on a device ("cpu" or "cuda"), and return what the
    results follow from. Without `edits` neither editor nor flow is asked for: a fit needs none of their
    weights.

    WeightsError where weights that are asked for by name cannot be found.
    """
    _settle_field(config, device)
    fitted = field_identity(config.field, field_kind(config.field.kind).identity(config.field))
    if not edits:
        return Identity(field=fitted)
    kind = editor_kind(config.editor)
    place = kind.resolve(config.editor.weights, device, pin=True)
    config.editor.kind = kind.name
    kind.settle(config.editor, place, device)
    named = editor_identity(kind.name, kind.identity(place, config.editor))
    return Identity(named, _settle_flow(config), fitted)


def _settle_field(config: Config, device: str) -> None:
    field = config.field
    field.exposure = "off" if field.exposure == "auto" else field.exposure  # no check has settled it
    field_kind(field.kind).settle(field, device)
    if field.refit_loss == "auto":
        field.refit_loss = "perceptual" if device == "cuda" and _lpips_is_here() else "squared"


def _lpips_is_here() -> bool:
    try:
        return bool(lpips_files())
    except WeightsError:
        return False


def _settle_flow(config: Config) -> str:
    """Settle method and checkpoint of the flow; return its identity."""
    flow = config.flow
    if flow.method == "none":
        return "none"
    estimator, _ = find_estimator(flow.method, flow.checkpoint, iterations=flow.iterations)
    if flow.method in ("auto", "raft"):
        flow.method = "raft" if estimator.identity.startswith("raft") else "dis"
        flow.checkpoint = str(raft_places(flow.checkpoint)[0].absolute()) if flow.method == "raft" else ""
    return estimator.identity


def choose_editor(
    config: Config, prompt: str, device: str, identity: Identity | None = None, edits: bool = True
) -> Chosen:
    """Return the editor for a device, and write what was left open into the configuration (see `settle`;
    `identity` is what that returned, where it was called before; `edits` as there).

    WeightsError when a folder is named that holds no editor.
    """
    identity = settle(config, device, edits) if identity is None else identity
    kind, editor = editor_kind(config.editor), config.editor
    place = kind.resolve(editor.weights, device)
    card = kind.card(place)
    if editor.text_guidance is None:
        editor.text_guidance = card.text_guidance
    if editor.image_guidance is None:
        editor.image_guidance = card.image_guidance
    assert editor.attention != "auto", "settled by `fitted_to`"
    settings = EditSettings(
        prompt,
        editor.text_guidance,
        editor.image_guidance,
        editor.attention,
        flow=config.flow.method,
        flow_mask=config.flow.mask,
        keep_unchanged=editor.keep_unchanged,
        mode=editor.mode,
        noise=editor.noise,
        blend=config.schedule.blend,
        blend_sigma=config.schedule.blend_sigma,
        blend_detail=config.schedule.blend_detail,
        identity=f"{identity.editor}; {identity.flow}",
    )
    return Chosen(place, card, kind.complete(settings, editor), identity, kind.name)


def notices_of(chosen: Chosen) -> tuple[str, ...]:
    """Return what must be said of an editor and its sentence before a run begins."""
    return KINDS[chosen.kind].notices(chosen.place, chosen.card, chosen.settings.instruction)


# ------------------------------------------------------------------------------------------------ comparing
@dataclass(frozen=True)
class Change:
    """One thing that a run followed from and that is another now; `stage`: from where it must begin anew,
    None: it cannot.
    """

    key: str
    before: Any
    now: Any
    stage: Stage | None

    def __str__(self) -> str:
        return f"{self.key} was {_short(self.before)}, is {_short(self.now)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def followed_from(config: Config, chosen: Chosen, trainers: int) -> dict[str, Any]:
    """Return what results follow from, by dotted key, for identity.json; of weights, what they are and not
    where they lie.
    """
    out = {}
    for key in cfg.known_keys(config):
        section, leaf = config, key
        for name in key.split(".")[:-1]:
            section, leaf = getattr(section, name), key.split(".")[-1]
        if not key.startswith("cluster.") and key not in _UNSEEN:
            out[key] = getattr(section, leaf)
    named = chosen.identity.editor
    out["editor.weights"] = KINDS[chosen.kind].weights_identity(chosen.place) if named else ""
    out["flow.checkpoint"] = chosen.identity.flow if config.flow.method == "raft" else ""
    out["field.refit_loss"] += f" {distance_identity()}" if config.field.refit_loss == "perceptual" else ""
    out["cluster.trainer_gpus"] = trainers
    return out


def write(folder: RunFolder, tree: dict[str, Any]) -> None:
    """Store with a run what it follows from."""
    folder.write_json(FILE, tree)


def changes(folder: RunFolder, now: dict[str, Any]) -> list[Change]:
    """Return what differs from what a run was begun with."""
    before = folder.read_json(FILE) or {}
    return [
        Change(key, before[key], now[key], _stage_of(key))
        for key in now
        if key in before and before[key] != now[key]
    ]


def _stage_of(key: str) -> Stage | None:
    if key.startswith(_NEVER):
        return None
    return "edits" if key.startswith(("editor.", "flow.", "schedule.")) else "fit"


def take_changes(folder: RunFolder, now: dict[str, Any], allowed: bool) -> list[Change]:
    """Compare a run with what it would go on with; where changes are allowed, drop what followed from what
    was before, so that it is made anew. Returns the changes.

    ConfigError names what has changed where that is not allowed or cannot be undone by beginning anew.
    """
    found = changes(folder, now)
    if not found:
        return []
    told = "; ".join(map(str, found[:3])) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
    fixed = [change for change in found if change.stage is None]
    if fixed:
        raise ConfigError(
            f"{folder.path}: {fixed[0]}, and the run was prepared with the former",
            "put it back, or begin a new run",
        )
    stage: Stage = "fit" if any(change.stage == "fit" for change in found) else "edits"
    if not allowed:
        hint = f"put it back, or --allow-change begins anew from the {'fit' if stage == 'fit' else 'edits'}"
        raise ConfigError(f"{folder.path}: what this run follows from has changed: {told}", hint)
    begin_anew(folder, stage)
    write(folder, now)
    return found


def begin_anew(folder: RunFolder, stage: Stage) -> None:
    """Drop the rounds of a run that a stage and what follows it made; prepared frames stay, and of "edits"
    the first fit too.
    """
    first = 0 if stage == "fit" else 1
    manifests = folder.manifests()
    dropped = [index for index in manifests if index >= first]
    folder.forget(dropped, ("plan.json", "rounds.json", "renders.json", "metrics.json"))
    if not folder.keeps_its_own_store:  # others may use the same checkpoints
        return
    for index in dropped:
        if index > 0:
            folder.drop_checkpoint(manifests[index]["checkpoint"]["digest"])
