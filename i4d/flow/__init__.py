"""Optical flow behind one protocol. Flow *pulls*, in pixels: `out[y, x] = b[y + dy, x + dx]` matches `a[y,
x]`.
"""
