"""Published constants for the package imagecorruptions, where its own differ.

Its frost and its elastic transform differ from ImageNet-C (docs/FIDELITY.md). To compare their code
with ours, both are recompiled here with some assignments replaced: frost draws among the first five
photographs, at their own size; the elastic transform gets the published field, after the affine map
that it lacks. The field, the sampling, the photographs and the blending remain the package's.

Source: the public code of Hendrycks and Dietterich, "Benchmarking neural network robustness to
common corruptions and perturbations" (ICLR 2019), ImageNet-C.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable
from types import ModuleType
from typing import Any

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
# Corruption -> assignment of its function -> new value, where OLD stands for the old value.
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
    """Makes `package.corrupt` use the published constants in this process.

    Args:
        package: the module imagecorruptions, which is modified.

    Raises:
        ValueError: its code, perhaps of another version, does not assign each value exactly once.
    """
    for name, assigned in _PUBLISHED.items():
        function = package.corruption_dict[name]
        function.__globals__.update(published_affine=affine, published_elastic=ELASTIC)
        package.corruption_dict[name] = reassigned(function, assigned)


def reassigned(function: Callable[..., Any], assigned: dict[str, str]) -> Callable[..., Any]:
    """Returns a copy of a function with some assigned values replaced.

    Args:
        function: a Python function of a module.
        assigned: "name =" or "name *=" -> an expression, in which OLD stands for the old value.

    Raises:
        ValueError: the function does not assign each name exactly once.
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
        raise ValueError(f"{function.__name__} must assign each name exactly once, got {found}.")
    names = function.__globals__
    original = names[function.__name__]
    exec(compile(ast.fix_missing_locations(tree), inspect.getfile(function), "exec"), names)
    changed, names[function.__name__] = names[function.__name__], original
    return changed


def affine(image: np.ndarray, displacement: float) -> np.ndarray:
    """Applies the affine map that moves three points around the center at random.

    Args:
        image: float32 [S, S, 3].
        displacement: largest move of a point in x and y, in pixels.

    Returns:
        float32 [S, S, 3], mirrored at its edges.
    """
    side = image.shape[0]
    center, reach = side // 2, side // 3
    points = np.array(center + reach * np.array([[1, 1], [1, -1], [-1, -1]]), np.float32)
    moved = points + np.random.uniform(-displacement, displacement, (3, 2)).astype(np.float32)
    matrix = cv2.getAffineTransform(points, moved)
    return cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
