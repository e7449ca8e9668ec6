"""Exposure and white balance by camera: a gain per colour between what the field shows and what a camera
recorded.

Cameras of one rig seldom agree in brightness and white balance. Without gains a field explains that by fog
before single cameras or by an average that fits none of them. A gain multiplies display colours, which is
what a factor in the light does under a power-law transfer curve, and nearly so under sRGB's. All gains
together have a mean of one (in logarithms, by construction), so the scene keeps the brightness that the
cameras give it on average: that is the neutral look, which renders and novel cameras have.

Held-out cameras are judged in the neutral look. Fitting gains on half of a held-out image and judging the
other half, as NeRF-W does (Martin-Brualla et al., CVPR 2021, section 5), would show higher figures and use
what was held out.
"""

from __future__ import annotations

from torch import Tensor


def recorded(colours: Tensor, gains: Tensor | None, view: Tensor) -> Tensor:
    """Return colours (ray, 3) as the cameras at positions `view` (ray,) among the trained ones record them.

    `gains` (trained camera, 3) are logarithms, of which only differences count; None: all cameras are alike.
    """
    if gains is None:
        return colours
    return colours * (gains - gains.mean(0)).exp().index_select(0, view)
