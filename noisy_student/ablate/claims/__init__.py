"""The paper's claims as studies: the arms to train and the comparisons that decide each claim.

`noisy_student.ablate` runs them on any recipe. An arm is a chain of the usual stages with some
flags changed; stages that arms share run once. To add a study, define a `Study` in one of these
modules. Its first comparison represents it in the table of claims.
"""

from noisy_student.ablate.claims import compute, paper
from noisy_student.ablate.spec import Study

STUDIES: dict[str, Study] = {
    value.name: value
    for module in (paper, compute)
    for value in vars(module).values()
    if isinstance(value, Study)
}
