"""Contact sheets, labeled grids of images, and the command that draws one."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from absl import flags
from PIL import Image, ImageDraw

from data import cli

flags.disclaim_key_flags()  # so that --help lists the flags below under the running command

_LABEL, _LINE, _GAP = 110, 14, 4  # pixels: label width, line height, space between images


def draw(rows: Mapping[str, Sequence[np.ndarray]], headings: Sequence[str] = ()) -> Image.Image:
    """Draws one row of images per label.

    Args:
        rows: label -> images, uint8 [H, W, 3]; the same number and size in every row.
        headings: text above each column, or empty.

    Returns:
        The grid on a white background.
    """
    images = next(iter(rows.values()))
    height, width = (side + _GAP for side in images[0].shape[:2])
    top = _LINE if headings else _GAP
    sheet = Image.new(
        "RGB", (_LABEL + width * len(images), top + height * len(rows)), color="white"
    )
    pen = ImageDraw.Draw(sheet)
    for column, heading in enumerate(headings):
        pen.text((_LABEL + width * column, 1), heading, fill="black")
    for label, images in rows.items():
        pen.text((_GAP, top + (height - _LINE) // 2), label, fill="black")
        for column, image in enumerate(images):
            sheet.paste(Image.fromarray(image), (_LABEL + width * column, top))
        top += height
    return sheet


def run(
    sheet: Callable[[], Image.Image],
    output: str,
    size: int | None = 224,
    native_sizes: Sequence[int] = (),
) -> None:
    """Runs a command that draws a contact sheet of one image.

    Args:
        sheet: draws the contact sheet of `read_image` after the flags are parsed.
        output: default of --output.
        size: default of --size.
        native_sizes: allowed values of --native_size; empty: no --native_size and no --seed.
    """
    flags.DEFINE_string("image", None, "Image file to draw.", required=True)
    flags.DEFINE_string("output", output, "Image file to write.")
    text = "Longer side in pixels; larger images are scaled down to this size."
    flags.DEFINE_integer("size", size, text, lower_bound=1)
    if native_sizes:
        sizes = ", ".join(map(str, native_sizes))
        text = f"Image size whose benchmark constants to use: {sizes}; unset: the nearest."
        flags.DEFINE_integer("native_size", None, text)
        flags.DEFINE_integer("seed", 0, "Seed of all random numbers.", lower_bound=0)
    cli.run(lambda: sheet().save(flags.FLAGS.output))


def read_image() -> np.ndarray:
    """Reads --image, scaled down to --size: uint8 [H, W, 3]."""
    return cli.read_picture(flags.FLAGS.image, flags.FLAGS.size)
