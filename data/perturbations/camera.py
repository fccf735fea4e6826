"""How frames are cut from an image that is moved, turned, scaled or tilted before it is cropped.

A `View` holds the image and what follows the movement: a crop, and perhaps a resize. The movement
and the crop are one step here, so that nothing outside the crop is computed. What lies beyond the
image is black.

Sources: Pillow for affine maps (bilinear, with a hard edge) and OpenCV for perspective (bilinear,
the edge blended with black), which the published perturbation sequences were made with.
"""

import dataclasses

import cv2
import numpy as np
import PIL.Image


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """A way from an image to frames of one size.

    Attributes:
        image: uint8 [H, W, 3].
        top: first row of the crop.
        left: first column of the crop.
        height: of the crop.
        width: of the crop.
        side: the crop is resized to side x side (bilinear, antialiased); None: it is the frame.
    """

    image: np.ndarray
    top: int
    left: int
    height: int
    width: int
    side: int | None = None

    def frame(self) -> np.ndarray:
        """The image as it is, cropped and resized: uint8 [h, w, 3]."""
        rows, columns = slice(self.top, self.top + self.height), slice(self.left, None)
        return self._resized(self.image[rows, columns][:, : self.width].copy())

    def affine(self, *, degrees: float = 0, scale: float = 1, right: float = 0) -> np.ndarray:
        """A frame of the image turned, scaled and moved about its center.

        Args:
            degrees: clockwise.
            scale: above 1 enlarges.
            right: pixels it is moved to the right, in the end.

        Returns:
            uint8 [h, w, 3].
        """
        height, width = self.image.shape[:2]
        # Where the frame's pixels lie in the image. Its center, in pixels counted from 0, is half a
        # pixel less than half its size.
        cos, sin = np.cos(np.radians(degrees)) / scale, np.sin(np.radians(degrees)) / scale
        turn = np.array([[cos, sin], [-sin, cos]])
        center = np.array([width, height]) / 2 - 0.5
        offset = turn @ (np.array([self.left - right, self.top]) - center) + center
        matrix = np.column_stack([turn, offset])
        size = self.width, self.height
        warped = cv2.warpAffine(
            self.image,
            matrix,
            size,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        inside = cv2.warpAffine(
            np.ones((height, width), np.uint8),
            matrix,
            size,
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        )
        return self._resized(cv2.bitwise_and(warped, warped, mask=inside))

    def tilt(self, degrees: float) -> np.ndarray:
        """A frame of the image turned about its vertical and horizontal axis, seen in perspective.

        The eye is as far away as the image's diagonal is long, and one pixel (as published, so that
        no tilt at all shrinks the image by that much).

        Args:
            degrees: of both turns.

        Returns:
            uint8 [h, w, 3].
        """
        height, width = self.image.shape[:2]
        focal = np.hypot(width, height)
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        about_y = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
        about_x = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
        plane = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
        points = about_x @ about_y @ plane + np.array([[0, 0, 0], [0, 0, 0], [0, 0, focal]])
        eye = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        crop = np.array([[1, 0, -self.left], [0, 1, -self.top], [0, 0, 1]])
        matrix = crop @ eye @ points
        return self._resized(cv2.warpPerspective(self.image, matrix, (self.width, self.height)))

    def _resized(self, crop: np.ndarray) -> np.ndarray:
        return crop if self.side is None else _resize(crop, self.side, self.side)


def in_place(image: np.ndarray) -> View:
    """The whole image, uint8 [H, W, 3]: what moves out of it is lost, what moves in is black."""
    return View(image, 0, 0, *image.shape[:2])


def resized_and_cropped(image: np.ndarray, shorter: int, side: int) -> View:
    """The image with its shorter side resized to `shorter`, and then its center of side x side."""
    height, width = image.shape[:2]
    smaller = min(height, width)
    if smaller != shorter:
        image = _resize(image, int(shorter * height / smaller), int(shorter * width / smaller))
    return _centered(image, side, side)


def cropped_and_resized(image: np.ndarray, share: float, side: int) -> View:
    """The center with `share` of the height and of the width, and then resized to side x side."""
    height, width = image.shape[:2]
    return _centered(image, int(share * height), int(share * width), side)


def _centered(image: np.ndarray, height: int, width: int, side: int | None = None) -> View:
    top, left = round((image.shape[0] - height) / 2), round((image.shape[1] - width) / 2)
    return View(image, top, left, height, width, side)


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    resized = PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BILINEAR)
    return np.asarray(resized)
