"""Kinds of editors by name. An entry point `i4d.editors` names one object that answers `EditorKind`.

`editor.kind` chooses by name; left to itself, weights say which kind loads them: the class of the pipeline in
their `model_index.json`.
"""

from __future__ import annotations

import json
from pathlib import Path

from i4d.config import EditorConfig
from i4d.config.kinds import DEFAULTS
from i4d.editors.protocol import EditorKind
from i4d.errors import WeightsError
from i4d.registry import Registry

DEFAULT = DEFAULTS["editor"]
KINDS: Registry[EditorKind] = Registry(
    "i4d.editors", "editor.kind", {"instruct_pix2pix": "i4d.editors.instruct_pix2pix.kind:KIND"}
)


def editor_kind(config: EditorConfig) -> EditorKind:
    """Return the kind that a configuration asks for; ConfigError names those there are, WeightsError says
    that nobody loads these weights.
    """
    return KINDS[config.kind if config.kind != "auto" else kind_of_weights(config.weights)]


def kind_of_weights(weights: str) -> str:
    """Return the name of the kind that loads a folder of weights; the default one's where they do not say, or
    are no folder.
    """
    index = Path(weights).expanduser() / "model_index.json"
    if not index.is_file():
        return DEFAULT
    try:
        pipeline = str(json.loads(index.read_text())["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise WeightsError(f"{index}: not readable: {err}", "mend it, or set editor.kind") from None
    for name, kind in KINDS.available():
        if pipeline in kind.pipelines:
            return name
    raise WeightsError(
        f"{weights}: weights of a {pipeline}, which no kind of editor here loads",
        f"kinds: {', '.join(KINDS.places())}; install the package that brings it, or set editor.kind",
    )
