"""Draws frames of every perturbation sequence of an image.

python -m data.perturbations --image=cat.jpg --output=grid.png
python -m data.perturbations --image=cat.jpg --size=96 --output=small.png
python -m data.perturbations --image=cat.jpg --columns=12 --seed=1 --output=grid.png
"""

from absl import flags
from PIL import Image

from data import contact_sheet, perturbations
from data.perturbations.sequences import NATIVE_SIZES


def sheet() -> Image.Image:
    """Draws the sheet that the flags ask for."""
    options = flags.FLAGS
    return perturbations.contact_sheet(
        contact_sheet.read_image(), options.seed, options.native_size, options.columns
    )


if __name__ == "__main__":
    flags.DEFINE_integer("columns", 8, "Frames to draw per sequence.", lower_bound=2)
    contact_sheet.run(sheet, "perturbations.png", size=None, native_sizes=NATIVE_SIZES)
