"""Draws an image after every RandAugment operation at several magnitudes.

python -m data.randaugment --image=cat.jpg --output=grid.png
python -m data.randaugment --image=cat.jpg --size=96 --output=small.png
python -m data.randaugment --image=cat.jpg --magnitudes=5,10,27 --seed=1 --output=grid.png
"""

from absl import flags
from PIL import Image

from data import contact_sheet, randaugment

_MAGNITUDES = flags.DEFINE_list(
    "magnitudes", ["3", "5", "10", "15", "20", "24", "27"], "Magnitudes to draw, one per column."
)


def sheet() -> Image.Image:
    """Draws the contact sheet that the flags describe."""
    try:
        magnitudes = [float(magnitude) for magnitude in _MAGNITUDES.value]
    except ValueError:
        given = ",".join(_MAGNITUDES.value)
        raise ValueError(f"--magnitudes={given}: must be numbers, as in 5,10,27.") from None
    return randaugment.contact_sheet(contact_sheet.read_image(), magnitudes)


if __name__ == "__main__":
    contact_sheet.run(sheet, "randaugment.png")
