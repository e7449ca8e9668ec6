"""Triton kernels of the field: lookups, marching, optimiser. Triton is optional; only `i4d.field.fused`
imports these.
"""
