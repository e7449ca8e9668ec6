"""The 4D field: spaces, streaming vector-matrix factors, volume rendering, fitting, checkpoints."""
