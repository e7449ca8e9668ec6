"""i4d: edit moving 3D scenes by a sentence, on one GPU or on many."""

__version__ = "0.1.0"
