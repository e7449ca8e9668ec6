"""Where an edited picture lies on its original: shift, zoom and rotation, measured and undone.

Editors of single pictures crop, scale and shift a little. What an edit keeps are edges, whatever it does to
colours, and often shades, so both pictures are compared by these, normalised by what is around them. A
search over zooms, rotations and shifts finds the neighbourhood, the
enhanced correlation coefficient (Evangelidis and Psarakis 2008) a map, and phase correlation of tiles
(Kuglin and Hines 1975) says how well it fits everywhere; a robust similarity fitted to these mends the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

STILL_PX = 0.3  # a picture whose every corner lies within this is left as it is
MOST_STILL_PX = 1.5  # likewise where an edit's own strokes, which move what they paint, allow nothing finer
COARSE_WIDTH = 128
COARSE_SIGMA = 1.5
REACH = 0.12  # of the picture: farther shifts are not looked for
ZOOMS = np.exp(np.linspace(np.log(0.84), np.log(1.19), 13))
TURNS = np.linspace(-6, 6, 9)  # degrees
TILES = 7  # a side
TILE_SIGMA = 1.2
TILE_PX = 2.0  # farther off than this a tile shows something else
LEAST_INLIERS = 0.6  # share of the tiles with edges
LEAST_ALIKE = 0.25  # correlation of edges
MOST_RESIDUAL = 1.2  # px, of tiles: the fit through many of them is several times better


@dataclass(frozen=True, eq=False)
class Alignment:
    """How an edited picture lies on its original, at the original's size.

    `edited_from_original` (2, 3) maps pixels of the original (centres at integers, as OpenCV has them) to
    where they are in the edited picture. `shift` (dx, dy) is how far the middle moved, `zoom` above 1 an
    enlarged picture, `turn_deg` its rotation clockwise. `alike`: correlation of what is compared, in [-1, 1],
    when aligned; `inliers`: share of tiles that fit; `residual_px`: median of their distances from the fit;
    `corner_px`: how far the farthest corner moved.
    """

    edited_from_original: np.ndarray
    shift: tuple[float, float]
    zoom: float
    turn_deg: float
    alike: float
    inliers: float
    residual_px: float
    corner_px: float

    @property
    def fits(self) -> bool:
        """Return whether the two show the same and the map can be relied on."""
        return (
            self.alike >= LEAST_ALIKE and self.inliers >= LEAST_INLIERS and self.residual_px <= MOST_RESIDUAL
        )

    @property
    def still(self) -> bool:
        """Return whether nothing needs to be undone."""
        return self.corner_px <= max(STILL_PX, min(2 * self.residual_px, MOST_STILL_PX))

    def __str__(self) -> str:
        dx, dy = self.shift
        return f"moved by {dx:.1f}, {dy:.1f} px, zoom {self.zoom:.3f}, turned {self.turn_deg:.1f} degrees"

    def figures(self) -> str:
        """Return how well it fits, in words."""
        return (
            f"likeness {self.alike:.2f}, {100 * self.inliers:.0f} % of the picture fits, residual "
            f"{self.residual_px:.1f} px"
        )


def measure(edited: np.ndarray, original: np.ndarray) -> Alignment:
    """Return how an edited picture lies on its original, both uint8 (height, width, 3) of one size: of three
    ways to compare them, what the one says whose tiles agree best.
    """
    found = [_measured(a, b) for a, b in _comparisons(edited, original)]
    return min(found, key=lambda m: (not m.fits, m.residual_px / max(m.inliers, 1e-6)))


def _comparisons(edited: np.ndarray, original: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of what of the original and of the edited picture should look alike: shades, where an edit
    keeps light and dark; edges, where it keeps neither; edges and ink, where it draws lines on paper.
    """
    edges = edge_strength(original)
    return [
        (shades(original), shades(edited)),
        (edges, edge_strength(edited)),
        (edges, -shades(edited)),
    ]


def _measured(a: np.ndarray, b: np.ndarray) -> Alignment:
    matrix = _refined(a, b, _coarse(a, b))
    inliers, residual = 0.0, float("inf")
    for last in (False, False, True):
        at, off = _tile_shifts(a, _warped(b, matrix))
        if len(at) < 6:
            break
        fit, good = _robust_similarity(at, off)
        away = np.linalg.norm(off - fit(at), axis=1)
        inliers, residual = float(good.mean()), float(np.median(away))
        if not last and good.sum() >= 6:
            matrix = _composed(matrix, fit)
    alike = _correlation(a, _warped(b, matrix))
    return _described(matrix, a.shape, alike, inliers, residual)


def undone(edited: np.ndarray, alignment: Alignment) -> np.ndarray:
    """Return the edited picture (height, width, 3) laid onto its original, edges repeated where it showed
    less; the very same array where it is still.
    """
    if alignment.still:
        return edited
    size = edited.shape[1], edited.shape[0]
    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    matrix = alignment.edited_from_original
    return cv2.warpAffine(edited, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def shades(image: np.ndarray) -> np.ndarray:
    """Return float32 (height, width): luma less its average around, over its deviation there."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    sigma = max(4.0, min(grey.shape) / 12)
    centred = grey - cv2.GaussianBlur(grey, (0, 0), sigma)
    spread = np.sqrt(cv2.GaussianBlur(centred**2, (0, 0), sigma))
    return np.clip(centred / (spread + 3.0), -3, 3)


def edge_strength(image: np.ndarray) -> np.ndarray:
    """Return float32 (height, width): the gradient of luma over its own average around, which colours,
    contrast and shading hardly change.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    soft = cv2.GaussianBlur(grey, (0, 0), 1.0)
    strength = np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1))
    around = cv2.GaussianBlur(strength, (0, 0), max(4.0, min(grey.shape) / 12))
    return cv2.GaussianBlur(np.minimum(strength / (around + 4.0), 3.0), (0, 0), 0.7)


def _coarse(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the best map (2, 3) of a grid of zooms and rotations, each with its best shift."""
    scale = min(1.0, COARSE_WIDTH / a.shape[1])
    size = max(16, round(a.shape[1] * scale)), max(16, round(a.shape[0] * scale))
    small, other = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (a, b))
    small, other = (cv2.GaussianBlur(x, (0, 0), COARSE_SIGMA) for x in (small, other))
    margin = round(REACH * size[0]), round(REACH * size[1])
    inner = small[margin[1] : size[1] - margin[1], margin[0] : size[0] - margin[0]]
    middle = (size[0] - 1) / 2, (size[1] - 1) / 2
    best: float = -np.inf
    found: np.ndarray = np.eye(2, 3)
    for zoom in ZOOMS:
        for turn in TURNS:
            matrix = cv2.getRotationMatrix2D(middle, -turn, zoom)
            scores = cv2.matchTemplate(_warped(other, matrix), inner, cv2.TM_CCOEFF_NORMED)
            _, alike, _, place = cv2.minMaxLoc(scores)
            if alike > best:  # what is at x in `small` is at x + shift in the warped one
                shift = np.array(place) - margin
                best, found = alike, matrix.copy()
                found[:, 2] += matrix[:, :2] @ shift
    grow = np.diag([a.shape[1] / size[0], a.shape[0] / size[1], 1.0])
    centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    grown = grow @ centre @ np.vstack([found, [0, 0, 1]]) @ np.linalg.inv(centre) @ np.linalg.inv(grow)
    return (np.linalg.inv(centre) @ grown @ centre)[:2]


def _refined(a: np.ndarray, b: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the map of the greatest correlation near a first one; the first where there is none."""
    for sigma in (4.0, 2.0):
        first, second = (cv2.GaussianBlur(x, (0, 0), sigma) for x in (a, b))
        stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
        try:
            _, found = cv2.findTransformECC(first, second, matrix.astype(np.float32), cv2.MOTION_AFFINE, stop)
        except cv2.error:  # it found no overlap, or did not converge
            return matrix
        matrix = _similar(found.astype(np.float64), a.shape)
    return matrix


def _tile_shifts(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middles (n, 2) of tiles with edges and where in b, from there, what they show is (n, 2)."""
    height, width = a.shape
    tile_h, tile_w = (_tile_size(2 * n // (TILES + 1)) for n in (height, width))
    window = cv2.createHanningWindow((tile_w, tile_h), cv2.CV_32F)
    a, b = (cv2.GaussianBlur(x, (0, 0), TILE_SIGMA) for x in (a, b))
    at, off = [], []
    for y in range(0, height - tile_h + 1, max(1, tile_h // 2)):
        for x in range(0, width - tile_w + 1, max(1, tile_w // 2)):
            first, second = (m[y : y + tile_h, x : x + tile_w] for m in (a, b))
            if min(float(first.std()), float(second.std())) < 0.1:
                continue
            shift, _ = cv2.phaseCorrelate(first - first.mean(), second - second.mean(), window)
            at.append((x + (tile_w - 1) / 2, y + (tile_h - 1) / 2))
            off.append(shift)
    return np.array(at).reshape(-1, 2), np.array(off).reshape(-1, 2)


def _tile_size(size: int) -> int:
    """Return the largest even length up to `size` that OpenCV transforms without padding: with it, or an odd
    length, its phase correlation is off by a third of a pixel.
    """
    size = max(8, size - size % 2)
    while cv2.getOptimalDFTSize(size) != size:
        size -= 2
    return size


class _Offsets:
    """Offsets as a similarity of place: dx = p x - q y + u, dy = q x + p y + v."""

    def __init__(self, pquv: np.ndarray) -> None:
        p, q, u, v = pquv
        self.matrix = np.array([[p, -q, u], [q, p, v]])

    def __call__(self, at: np.ndarray) -> np.ndarray:
        return np.hstack([at, np.ones((len(at), 1))]) @ self.matrix.T


def _fitted(at: np.ndarray, off: np.ndarray, weight: np.ndarray) -> _Offsets:
    x, y, one, zero = at[:, 0], at[:, 1], np.ones(len(at)), np.zeros(len(at))
    design = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    root = np.sqrt(np.concatenate([weight, weight]))
    return _Offsets(np.linalg.lstsq(design * root[:, None], off.T.ravel() * root, rcond=None)[0])


def _robust_similarity(at: np.ndarray, off: np.ndarray) -> tuple[_Offsets, np.ndarray]:
    """Return the similarity fitted to offsets, reweighted (Cauchy) so that strays do not count, and which
    fit.
    """
    away = np.linalg.norm(off - np.median(off, axis=0), axis=1)
    for _ in range(12):
        fit = _fitted(at, off, 1 / (1 + (away / 0.4) ** 2))
        away = np.linalg.norm(off - fit(at), axis=1)
    return fit, away < TILE_PX


def _similar(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the similarity (2, 3) nearest to an affine map over a picture of a shape."""
    y, x = np.mgrid[0 : shape[0] : 5j, 0 : shape[1] : 5j]
    at = np.stack([x.ravel(), y.ravel()], 1)
    moved = np.hstack([at, np.ones((len(at), 1))]) @ matrix.T
    return np.eye(2, 3) + _fitted(at, moved - at, np.ones(len(at))).matrix


def _composed(matrix: np.ndarray, fit: _Offsets) -> np.ndarray:
    """Return the map that first moves by what tiles still lack."""
    further = np.eye(3)
    further[:2] += fit.matrix
    return (np.vstack([matrix, [0, 0, 1]]) @ further)[:2]


def _warped(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    size = image.shape[1], image.shape[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / scale) if scale > 1e-9 else 0.0


def _described(
    matrix: np.ndarray, shape: tuple[int, ...], alike: float, inliers: float, residual: float
) -> Alignment:
    height, width = shape[:2]
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1.0]])
    middle = np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
    far = float(np.linalg.norm(corners @ matrix.T - corners[:, :2], axis=1).max())
    shift = matrix @ middle - middle[:2]
    zoom = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    turn = float(np.degrees(np.arctan2(matrix[1, 0] - matrix[0, 1], matrix[0, 0] + matrix[1, 1])))
    shift = float(shift[0]), float(shift[1])
    return Alignment(matrix, shift, zoom, turn, alike, inliers, residual, far)
