"""Kernels for the editor's heaviest layers; each has a plain twin and is optional."""
