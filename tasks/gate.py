"""Lets the trials of a synthetic set begin, unless its audit found what a study forbids."""

from pathlib import Path

from tasks.errors import InputError
from tasks.results import read_result, write_result
from tasks.specs import GateSpec, Progress, Work


def gate(spec: GateSpec, audit: Path, out: Path) -> Work:
    """Compare what an audit found with what is allowed.

    Args:
        audit: the folder that `audit` wrote.

    Raises InputError, in one line, where it found more.
    """
    found = read_result(audit)
    copies = found["test_exact"] + found["test_near"]
    if spec.max_test_duplicates is not None and copies > spec.max_test_duplicates:
        raise InputError(
            f"audit of {spec.name}: {copies} of {found['images']} synthetic images are copies of "
            f"test images ({found['test_exact']} exact, {found['test_near']} near), and "
            f"max_test_duplicates allows {spec.max_test_duplicates}: look at them in the report, "
            "and make the set without them, or allow more"
        )
    share = found["memorisation_rate"]
    if spec.max_memorisation is not None and share > spec.max_memorisation:
        raise InputError(
            f"audit of {spec.name}: {found['memorised']} of {found['images']} synthetic images "
            f"({share:.2%}) are copies of training images, and max_memorisation allows "
            f"{spec.max_memorisation:.2%}: filter with near_duplicate, fit for fewer steps or on "
            "more images, or allow more"
        )
    write_result(out, {"test_duplicates": copies, "memorisation_rate": share})
    yield Progress(done=1, total=1)
