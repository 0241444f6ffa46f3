"""The small text files that datasets are listed in: a key and a value on each line."""

from pathlib import Path

from tasks.errors import InputError
from tasks.reading import DataMissing


def read_lines(name: str, path: Path, expected: str) -> list[tuple[int, str]]:
    """The lines that are not empty, with their numbers from 1.

    Args:
        name: of the dataset, for messages.
        expected: the layout, and where it is published, for the message.

    Raises DataMissing where the file is not there.
    """
    if not path.is_file():
        raise DataMissing(f"{name}: there is no {str(path)!r}; expected {expected}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: {str(path)!r} is no text ({error})") from error
    lines = enumerate(text.splitlines(), start=1)
    return [(number, line) for number, line in lines if line.strip()]


def read_pairs(
    name: str, path: Path, expected: str, separator: str | None = None
) -> dict[str, tuple[int, str]]:
    """What follows the first word of each line, by that word, with the number of the line.

    Raises DataMissing where the file is not there, InputError for lines of one word and for words
    that start two lines.
    """
    found: dict[str, tuple[int, str]] = {}
    for number, line in read_lines(name, path, expected):
        key, *rest = line.split(separator, 1)
        if not rest:
            raise InputError(f"{name}: {str(path)!r}, row {number}: {line!r} has no second part")
        if key in found:
            raise InputError(
                f"{name}: {str(path)!r}, row {number}: {key!r} is in row {found[key][0]} already"
            )
        found[key] = (number, rest[0].strip())
    return found
