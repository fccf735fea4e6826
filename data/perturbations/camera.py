"""A camera that cuts frames from an image that is moved, rotated, scaled or tilted.

A `View` holds the image, a crop and an optional resize. Movement and crop are one step, so that no
pixel outside the crop is computed. Pixels from beyond the image are black.

Sources: Pillow for affine maps (bilinear, with a hard edge) and OpenCV for perspective (bilinear,
with an edge blended into black). The published perturbation sequences were made with them.
"""

import dataclasses

import numpy as np
import PIL.Image

from data.optional import LazyModule

cv2 = LazyModule("cv2")


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """An image with the crop and resize that turn it into frames of one size."""

    image: np.ndarray  # uint8 [H, W, 3]
    top: int  # first row of the crop
    left: int  # first column of the crop
    height: int
    width: int
    # Frames are the crop resized to side x side (bilinear, antialiased); None: the crop.
    side: int | None = None

    def frame(self) -> np.ndarray:
        """Returns the frame of the unmoved image, uint8 [h, w, 3]."""
        rows, columns = slice(self.top, self.top + self.height), slice(self.left, None)
        return self._resized(self.image[rows, columns][:, : self.width].copy())

    def affine(self, *, degrees: float = 0, scale: float = 1, right: float = 0) -> np.ndarray:
        """Returns a frame of the image rotated and scaled about its center, and then moved.

        Args:
            degrees: clockwise rotation.
            scale: values above 1 enlarge.
            right: pixels that the image moves to the right.

        Returns:
            uint8 [h, w, 3].
        """
        height, width = self.image.shape[:2]
        # Maps pixels of the frame to the image, whose center is half a pixel below half its size
        # because pixels count from 0.
        cos, sin = np.cos(np.radians(degrees)) / scale, np.sin(np.radians(degrees)) / scale
        rotation = np.array([[cos, sin], [-sin, cos]])
        center = np.array([width, height]) / 2 - 0.5
        offset = rotation @ (np.array([self.left - right, self.top]) - center) + center
        matrix = np.column_stack([rotation, offset])
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
        """Returns a frame of the image rotated about its vertical and horizontal axis.

        The eye is as far away as the image's diagonal is long, plus one pixel. As in the public
        code, this shrinks even an image that is not tilted.

        Args:
            degrees: angle of both rotations.

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
    """Returns a view of the whole image, uint8 [H, W, 3]; its frames have the image's size."""
    return View(image, 0, 0, *image.shape[:2])


def resized_and_cropped(image: np.ndarray, shorter: int, side: int) -> View:
    """Returns a view that resizes the shorter side to `shorter` and crops the central square."""
    height, width = image.shape[:2]
    smaller = min(height, width)
    if smaller != shorter:
        image = _resize(image, int(shorter * height / smaller), int(shorter * width / smaller))
    return _centered(image, side, side)


def cropped_and_resized(image: np.ndarray, fraction: float, side: int) -> View:
    """Returns a view that crops the central `fraction` of height and width and resizes it."""
    height, width = image.shape[:2]
    return _centered(image, int(fraction * height), int(fraction * width), side)


def _centered(image: np.ndarray, height: int, width: int, side: int | None = None) -> View:
    top, left = round((image.shape[0] - height) / 2), round((image.shape[1] - width) / 2)
    return View(image, top, left, height, width, side)


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    resized = PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BILINEAR)
    return np.asarray(resized)
