"""What results follow from besides frames and tasks, as short texts: equal texts, equal results.

The driver settles them before the plan (`i4d/identity.py`), a worker says them of what it has really loaded;
the two are compared when it comes up.
"""

from __future__ import annotations

from i4d.config import FieldConfig
from i4d.config.kinds import DEFAULTS
from i4d.metrics.perceptual import lpips_files
from i4d.store.digests import file_digest


def editor_identity(kind: str, text: str) -> str:
    """Return an editor's identity: its kind where it is not the default one, and what the kind says of it."""
    return text if kind == DEFAULTS["editor"] else f"{kind}, {text}"


def distance_identity() -> str:
    """Return the digest of LPIPS's weights on this machine; WeightsError where they are not there."""
    return "-".join(file_digest(file)[:16] for file in lpips_files())


def field_identity(config: FieldConfig, text: str) -> str:
    """Return a field's identity: its kind where it is not the default one, what the kind says of it, and the
    distance of a perceptual refit.
    """
    named = "" if config.kind == DEFAULTS["field"] else f"{config.kind}, "
    seen = f", LPIPS {distance_identity()}" if config.refit_loss == "perceptual" else ""
    return f"{named}{text}{seen}"
