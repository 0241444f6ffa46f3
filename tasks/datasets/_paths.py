"""Names that data gives for files: none of them may lead out of its folder."""

from pathlib import Path, PurePosixPath

from tasks.errors import InputError


def inside(root: Path, name: str, where: str) -> Path:
    """The file that `name` means below `root`.

    Args:
        where: the reader, the file and the row that hold the name, for the message.

    Raises InputError for names that are empty, absolute or climb with `..`.
    """
    pure = PurePosixPath(name)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\0" in name:
        raise InputError(
            f"{where}: {name!r} leads out of {str(root)!r}; a path below that folder would do"
        )
    return root / pure
