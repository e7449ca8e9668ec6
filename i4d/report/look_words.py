"""The figures about the look of an edit in words: name, unit, digits, better direction, meaning. Definitions:
docs/metrics.md.
"""

LOOK: dict[str, tuple[str, str, int, str, str]] = {
    "known_answer_lpips": (
        "Edited render to the known answer, LPIPS",
        "",
        4,
        "lower",
        "Learned perceptual distance of the edited render and the known answer.",
    ),
    "known_answer_gradient_psnr_db": (
        "Edited render to the known answer, edges",
        "dB",
        2,
        "higher",
        "PSNR of the images' gradients: are the edit's lines where they belong, as sharp as they should be?",
    ),
    "clip_directional_similarity": (
        "Words and picture, CLIP direction",
        "",
        4,
        "higher",
        "Cosine of what changed in the picture and what changed in its caption, as CLIP sees both. "
        "0.1 to 0.2 is usual for good edits.",
    ),
    "clip_frame_consistency": (
        "Neighbouring frames, CLIP",
        "",
        4,
        "higher",
        "Mean cosine of neighbouring frames' CLIP embeddings: does the video stay one thing?",
    ),
    "long_range": (
        "Drift from the first frame",
        "px",
        2,
        "lower",
        "Change between frame 0 and later frames along the original video's flow, divided by the "
        "mean gradient.",
    ),
    "sharpness_kept": (
        "Detail, relative to the unedited field",
        "",
        2,
        "near 1",
        "Laplacian energy of the edited renders over that of the unedited ones: under 1 is blurrier, "
        "over 1 has more strokes or noise.",
    ),
    "edges_kept": (
        "Detail of the edit that the refit kept",
        "",
        2,
        "near 1",
        "Laplacian energy of the renders over that of the editor's own frames.",
    ),
    "background_kept_db": (
        "Background kept",
        "dB",
        2,
        "higher",
        "PSNR of edited and unedited render outside of what was to change.",
    ),
}
