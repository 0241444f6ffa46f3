"""Downloads published files, and unpacks them; what is not whole never gets its name."""

import hashlib
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tasks.datasets._paths import inside
from tasks.errors import InputError
from tasks.reading import DataMissing


def download(name: str, url: str, path: Path, md5: str) -> None:
    """Fetch `url` into `path`.

    Args:
        name: of the dataset, for messages.
        md5: as published.

    Raises DataMissing where it cannot be had, InputError where it is not what was published.
    """
    import httpx

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=30) as response:
            response.raise_for_status()
            with part.open("wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    digest.update(chunk)
        if digest.hexdigest() != md5:
            raise InputError(
                f"{name}: {url} gave md5 {digest.hexdigest()}, published is {md5}: try again, or "
                f"put the file into {str(path.parent)!r} yourself"
            )
        part.replace(path)
    except httpx.HTTPError as error:
        raise DataMissing(
            f"{name}: {path.name} is not in {str(path.parent)!r} and {url} cannot be fetched "
            f"({error}): put the file there yourself"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def download_folder(name: str, url: str, folder: Path, md5: str) -> None:
    """Fetch an archive of the one folder `folder.name` and unpack it as `folder`.

    Raises DataMissing where it cannot be had, InputError where it is not what was published.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as aside:
        archive = Path(aside) / url.rsplit("/", 1)[-1]
        download(name, url, archive, md5)
        unpack(name, archive, Path(aside) / "unpacked")
        found = Path(aside) / "unpacked" / folder.name
        if not found.is_dir():
            raise InputError(f"{name}: {url} holds no folder {folder.name!r}")
        found.rename(folder)


def unpack(name: str, archive: Path, folder: Path) -> None:
    """Write the files of a .tar.gz, .tgz or .zip below `folder`.

    Raises InputError where the archive is damaged, or holds links or names that lead elsewhere.
    """
    members = _zipped if archive.suffix == ".zip" else _tarred
    where = f"{name}: {str(archive)!r}"
    try:
        for member, source in members(archive, where):
            target = inside(folder, member, where)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(source, file)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise InputError(f"{where} is damaged ({error}): fetch it again") from error


def _tarred(archive: Path, where: str) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive) as opened:
        for member in opened:
            if member.isdir():
                continue
            source = opened.extractfile(member) if member.isreg() else None
            if source is None:
                raise InputError(f"{where} holds {member.name!r}, which is no plain file")
            with source:
                yield member.name, source


def _zipped(archive: Path, where: str) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            if not member.is_dir():
                with opened.open(member) as source:
                    yield member.filename, source
