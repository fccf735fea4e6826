"""Draws an image after every corruption at every severity.

python -m data.corruptions --image=cat.jpg --output=grid.png
python -m data.corruptions --image=cat.jpg --size=96 --output=small.png
python -m data.corruptions --image=cat.jpg --native_size=32 --seed=1 --output=grid.png
"""

from absl import flags
from PIL import Image

from data import contact_sheet, corruptions
from data.corruptions.levels import NATIVE_SIZES


def sheet() -> Image.Image:
    """Draws the contact sheet that the flags describe."""
    options = flags.FLAGS
    return corruptions.contact_sheet(contact_sheet.read_image(), options.seed, options.native_size)


if __name__ == "__main__":
    contact_sheet.run(sheet, "corruptions.png", native_sizes=NATIVE_SIZES)
