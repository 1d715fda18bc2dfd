"""Fit body landmarks and a mask to one person: BlazePose, the full landmark network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.vision.bodies.pose_detector import region_of
from blissmask.vision.detection import sigmoid
from blissmask.vision.photo import Photo, network_input, paste
from blissmask.vision.regions import Box, Square, invert, move
from blissmask.vision.session import run

NETWORK = "pose_landmark_full"
SIZE = 256
NOSE, LEFT_EAR, RIGHT_EAR = 0, 7, 8
UPPER_BODY = (0, 7, 8, 11, 12, 23, 24)
"""Nose, ears, shoulders, hips: the landmarks at which a person must look like one, see ``faceless.py``."""

LIMBS = (13, 14, 15, 16, 25, 26, 27, 28)
"""Elbows, wrists, knees, ankles."""

LIMB_VISIBLE = 0.5
"""Visibility of a landmark from which a body shows it.

Measured: of 28 bodies of people in nine photos, with faces or with blurred heads, each has a limb of 0.56 or more. Of
seven bodies without a face in cut-outs and mirror pictures of a cup and a cat, two have none above 0.3.
"""

BODY_POINTS = 33
HIP_CENTRE, RIM = 33, 34
"""Auxiliary points: the middle of the hips and a point on the circle around the body."""

NO_PERSON_LOGIT = -20.0
"""Mask logit outside the network's crop: a probability of 2e-9."""

MIN_SCORE = 0.5
"""Smallest score of a fit. Source: MediaPipe's threshold for the presence of a pose."""

SMALLEST_SIDE = 16
LARGEST_SIDE = 8
"""A fit is given up when the next region is smaller than so many pixels or larger than so many long sides of the photo.

By eye: such a region shows a few grey pixels, or a photo of 32 pixels in a black square.
"""

ROUNDS = 3
"""Each fit is made on the region that the last one suggests.

The second round still moves bodies: with 2 rounds a skier has an IoU of 0.82, with 3 to 5 of 0.92. On the four COCO
photos as a whole the number hardly matters: the mean IoU per person that ``tests/benchmarks/masks.py`` prints is 0.669,
0.670, 0.668 and 0.665 with 2, 3, 4 and 5 rounds.
"""


@dataclass(frozen=True, slots=True)
class Pose:
    """One person's body.

    Attributes:
        points: float64 (39, 2), photo pixels; the first 33 are body landmarks.
        visibility: float64 (39,), 0..1.
        score: the network's confidence that this is a person, 0..1.
        region: the square of the photo that was the network's input.
        mask_logits: float32 (256, 256) over that square, positive where the person is.
    """

    points: NDArray[np.float64]
    visibility: NDArray[np.float64]
    score: float
    region: Square
    mask_logits: NDArray[np.float32]

    @property
    def quality(self) -> float:
        """Mean visibility of the body landmarks, 0..1."""
        return float(self.visibility[:BODY_POINTS].mean())

    @property
    def shows_a_limb(self) -> bool:
        """Whether an elbow, wrist, knee or ankle is seen; shoulders and hips are called visible in cups, too."""
        return bool(self.visibility[list(LIMBS)].max() >= LIMB_VISIBLE)

    @property
    def next_region(self) -> Square:
        """The square that the landmarks suggest for the next fit."""
        return region_of(self.points[HIP_CENTRE], self.points[RIM])

    def logits_in(self, box: Box, size_wh: tuple[int, int]) -> NDArray[np.float32]:
        """Return the mask logits in a box of the photo, stretched to ``size_wh`` pixels.

        Returns:
            float32 (h, w); :data:`NO_PERSON_LOGIT` outside the network's crop.
        """
        across, down = (box[2] - box[0]) / size_wh[0], (box[3] - box[1]) / size_wh[1]
        to_crop = self.region.to_crop(SIZE)
        from_box = np.column_stack([to_crop[:, :2] * (across, down), to_crop[:, :2] @ box[:2] + to_crop[:, 2]])
        return paste(self.mask_logits, from_box, (0, 0, size_wh[0], size_wh[1]), outside=NO_PERSON_LOGIT)


def fit_pose(photo: Photo, region: Square) -> Pose | None:
    """Fit landmarks and mask, each round on the region that the last one suggests.

    Returns:
        The pose, None when a round sees no person or suggests a region of absurd size.
    """
    largest = LARGEST_SIDE * max(photo.width, photo.height)
    for _ in range(ROUNDS):
        pose = _run(photo, region)
        region = pose.next_region
        if pose.score < MIN_SCORE or not SMALLEST_SIDE <= region.side <= largest:
            return None
    return pose


def _run(photo: Photo, region: Square) -> Pose:
    to_crop = region.to_crop(SIZE)
    # The last two outputs, heat maps and points in metres, are not used.
    points, score, mask_logits, _, _ = run(NETWORK, network_input(photo.cut(to_crop, SIZE)))
    landmarks = points.reshape(39, 5).astype(np.float64)
    return Pose(
        points=move(landmarks[:, :2], invert(to_crop)),
        visibility=sigmoid(landmarks[:, 3]),
        score=float(score.item()),
        region=region,
        mask_logits=mask_logits.reshape(SIZE, SIZE),
    )
