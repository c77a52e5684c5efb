"""The ground truth that labels come from: a score that depends on defocus alone.

Noise, contrast, brightness and the specimen do not change it; at any magnification the sharpest possible frame is a 9.
"""

HALF_SCORE_RADIUS_PX = 4.0
"""Blur radius b0, in pixels of a fast-mode frame, at which the score has fallen to half."""

TOP_SCORE = 9.0


def focus_score(blur_radius_px: float) -> float:
    """Score 9 / (1 + (b / b0)^2) of a frame whose defocus disc has radius b pixels (320 px wide).

    With astigmatism the disc is an ellipse, and b its larger semi-axis (`Blur.radius_px`): detail is lost along it
    however short the other is, so the score is best at the circle of least confusion.
    """
    return TOP_SCORE / (1.0 + (blur_radius_px / HALF_SCORE_RADIUS_PX) ** 2)
