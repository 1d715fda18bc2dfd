"""A face reader for tests: it reads faces out of the first row of pixels, so that a picture says who is in it."""

import numpy as np

from blissmask.licence import Licence
from blissmask.people.faces.face_reader import Face, Thresholds


class PaintedFaces:
    """Every block of 8 pixels in the first row with blue 255 is a face, whose embedding is its red and green / 255."""

    licence = Licence("CC0-1.0", commercial=True)
    identity = "painted"
    thread_safe = True
    thresholds = Thresholds(max_distance=0.5, uncertain_band=0.05, min_margin=0.1, unclear_tighter=0.1)

    def __init__(self, *, width=80.0):
        self.width = width

    def faces(self, rgb_HW3):
        row = rgb_HW3[0, ::8].astype(np.float32)
        return [
            Face((8.0 * at, 0.0, 8.0 * at + 8, 8.0), pixel[:2] / 255, self.width)
            for at, pixel in enumerate(row)
            if pixel[2] == 255
        ]


class FacesEverywhere(PaintedFaces):
    """Sees one face in every picture that nobody painted, whose embedding is its mean colour."""

    drawn_width = 80.0

    def faces(self, rgb_HW3):
        mean = rgb_HW3.reshape(-1, 3).mean(axis=0)[:2].astype(np.float32) / 255
        return super().faces(rgb_HW3) or [Face((0.0, 0.0, 8.0, 8.0), mean, self.drawn_width)]


def painted(*people, side=64):
    """Return a picture of people, each (red, green)."""
    rgb_HW3 = np.zeros((side, side, 3), np.uint8)
    for at, (red, green) in enumerate(people):
        rgb_HW3[:8, 8 * at : 8 * at + 8] = (red, green, 255)
    return rgb_HW3


class FacesInNoise:
    """A real reader that also sees a face in pictures without one, as miniatures draw them: a mean of those it knows.

    What it sees in noise has something of everybody that it read before, so that no likeness is 0.
    """

    def __init__(self, reader):
        self._reader = reader
        self._known = []
        self.licence, self.identity = reader.licence, reader.identity
        self.thread_safe, self.thresholds = False, reader.thresholds

    def faces(self, rgb_HW3):
        found = self._reader.faces(rgb_HW3)
        self._known += [face.embedding_D for face in found if face.clear]
        if found or not self._known:
            return found
        return [Face((0.0, 0.0, 8.0, 8.0), np.mean(self._known, axis=0), 80.0)]
