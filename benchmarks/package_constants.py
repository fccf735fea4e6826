"""The package imagecorruptions with the published constants, where its own are others.

Its frost and its elastic transform are not those of ImageNet-C (docs/FIDELITY.md). So that their
code can be compared with ours, both are compiled again here with what they assign replaced: frost
draws among the first five photographs, in their own size; the elastic transform has the published
field, after the affine map that it lacks. The field, the sampling, the photographs and the mixing
stay the package's.

Source: the public code of Hendrycks and Dietterich, "Benchmarking neural network robustness to
common corruptions and perturbations" (ICLR 2019), ImageNet-C.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable
from types import ModuleType

import cv2
import numpy as np

# (alpha, sigma, displacement) in pixels at 224, by severity; published as multiples of 244.
ELASTIC = (
    (488.0, 170.8, 24.4),
    (488.0, 19.52, 48.8),
    (12.2, 2.44, 4.88),
    (17.08, 2.44, 4.88),
    (29.28, 2.44, 4.88),
)
# Corruption -> what its function assigns, and what to assign instead; OLD is the value replaced.
_PUBLISHED = {
    "frost": {"idx =": "np.random.randint(5)", "scaling_factor *=": "1"},
    "elastic_transform": {
        "image =": "published_affine(OLD, published_elastic[severity - 1][2])",
        "sigma =": "published_elastic[severity - 1][1]",
        "alpha =": "published_elastic[severity - 1][0]",
        "max_dx =": "1",
        "max_dy =": "1",
    },
}


def set_published(package: ModuleType) -> None:
    """Lets `package.corrupt` use the published constants.

    Args:
        package: imagecorruptions; it is changed, for this process.

    Raises:
        ValueError: naming what its code does not assign exactly once, as another version may not.
    """
    module = inspect.getmodule(package.corruption_dict["frost"])
    module.published_affine, module.published_elastic = affine, ELASTIC
    for name, assigned in _PUBLISHED.items():
        function = package.corruption_dict[name]
        package.corruption_dict[name] = reassigned(function, assigned)


def reassigned(function: Callable, assigned: dict[str, str]) -> Callable:
    """The same function, with some of the values it assigns replaced.

    Args:
        function: written in Python, of a module.
        assigned: "name =" or "name *=" -> an expression, in which OLD stands for the old value.

    Raises:
        ValueError: naming an assignment that is not there exactly once.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    found = dict.fromkeys(assigned, 0)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            key = f"{node.targets[0].id} ="
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Mult):
            key = f"{ast.unparse(node.target)} *="
        else:
            continue
        if key in assigned:
            found[key] += 1
            new = assigned[key].replace("OLD", f"({ast.unparse(node.value)})")
            node.value = ast.parse(new, mode="eval").body
    if any(count != 1 for count in found.values()):
        raise ValueError(f"{function.__name__} must assign each once: {found}.")
    names = function.__globals__
    kept = names[function.__name__]
    exec(compile(ast.fix_missing_locations(tree), inspect.getfile(function), "exec"), names)
    made, names[function.__name__] = names[function.__name__], kept
    return made


def affine(image: np.ndarray, displacement: float) -> np.ndarray:
    """Moves three points around the center, each by up to the displacement in x and y.

    Args:
        image: float32 [S, S, 3].
        displacement: in pixels.

    Returns:
        float32 [S, S, 3], mirrored at its edges.
    """
    side = image.shape[0]
    center, reach = side // 2, side // 3
    points = np.float32(
        [
            [center + reach, center + reach],
            [center + reach, center - reach],
            [center - reach, center - reach],
        ]
    )
    moved = points + np.random.uniform(-displacement, displacement, (3, 2)).astype(np.float32)
    matrix = cv2.getAffineTransform(points, moved)
    return cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
