"""What is published is fetched once, checked, and unpacked only where it leads nowhere else."""

import dataclasses
import hashlib
import http.server
import io
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tasks.datasets import cifar10, cub200, fashion_mnist, tiny_imagenet
from tasks.datasets._fetch import unpack
from tasks.errors import InputError
from tasks.reading import DataMissing, Reader
from tests.tasks.test_datasets import (
    identified,
    small_cifar10,
    small_cub200,
    small_fashion,
    small_tiny_imagenet,
    write_idx,
)


def fashion(root: Path, mirror: str = "http://127.0.0.1:9") -> Reader:
    return fashion_mnist.build(fashion_mnist.Config(root=str(root), mirror=mirror))


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and keeps no log."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A real server on loopback, and the folder that it serves."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(folder))
    ) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put small files where the published ones would be."""
    small_fashion(folder)
    sums = {n: hashlib.md5((folder / n).read_bytes()).hexdigest() for n in fashion_mnist.MD5}
    monkeypatch.setattr(fashion_mnist, "MD5", sums)


def test_missing_files_are_downloaded_once(
    mirror: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = mirror
    publish(folder, monkeypatch)
    reader = fashion(tmp_path / "mine", url)
    with pytest.raises(DataMissing, match=r"train-images-idx3-ubyte\.gz is not in"):
        identified(reader)
    reader.fetch()
    assert identified(reader) == identified(fashion(folder))
    assert {path.name for path in (tmp_path / "mine").iterdir()} == set(fashion_mnist.MD5)
    shutil.rmtree(folder)
    reader.fetch()


def test_a_download_with_a_wrong_sum_is_not_kept(
    mirror: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = mirror
    publish(folder, monkeypatch)
    write_idx(folder, "train", "images-idx3", b"something else")
    with pytest.raises(InputError, match=r"gave md5 [0-9a-f]{32}, published is [0-9a-f]{32}"):
        fashion(tmp_path / "mine", url).fetch()
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_file_that_is_not_published_there_is_named(
    mirror: tuple[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(
        DataMissing, match=r"train-images-idx3-ubyte\.gz .* cannot be fetched .*404"
    ):
        fashion(tmp_path / "mine", mirror[0]).fetch()
    assert list((tmp_path / "mine").iterdir()) == []


def test_the_archive_of_cifar_is_read_as_it_is(
    mirror: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = mirror
    small_cifar10(folder)
    archive = folder / cifar10.PUBLISHED.archive
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder / cifar10.PUBLISHED.folder, cifar10.PUBLISHED.folder)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(cifar10, "PUBLISHED", dataclasses.replace(cifar10.PUBLISHED, md5=md5))
    reader = cifar10.build(cifar10.Config(root=str(tmp_path / "mine"), mirror=url))
    with pytest.raises(DataMissing, match="holds neither cifar-10-batches-py nor"):
        identified(reader)
    reader.fetch()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [archive.name]
    assert identified(reader) == identified(cifar10.build(cifar10.Config(root=str(folder))))
    archive.unlink()
    reader.fetch()


@pytest.mark.parametrize(
    ("module", "small"), [(cub200, small_cub200), (tiny_imagenet, small_tiny_imagenet)]
)
def test_a_folder_is_fetched_whole_or_not_at_all(
    module: ModuleType,
    small: Any,
    mirror: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, folder = mirror
    small(folder)
    archive = folder / module.URL.rsplit("/", 1)[-1]
    shutil.make_archive(
        str(folder / "packed"),
        "zip" if archive.suffix == ".zip" else "gztar",
        folder,
        module.FOLDER,
    )
    next(folder.glob("packed.*")).rename(archive)
    config = module.Config(root=str(tmp_path / "mine"), url=f"{url}/{archive.name}")
    reader = module.build(config)
    with pytest.raises(DataMissing, match="published at"):
        identified(reader)
    with pytest.raises(InputError, match=r"gave md5 [0-9a-f]{32}, published is [0-9a-f]{32}"):
        reader.fetch()
    assert list((tmp_path / "mine").iterdir()) == []
    monkeypatch.setattr(module, "MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    reader.fetch()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [module.FOLDER]
    assert identified(reader) == identified(module.build(module.Config(root=str(folder))))
    archive.unlink()
    reader.fetch()


def tar_of(path: Path, member: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    return path


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_members_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    member = tarfile.TarInfo(name)
    member.size = 3
    with pytest.raises(InputError, match=r"^some: .*evil' leads out of"):
        unpack("some", tar_of(tmp_path / "x.tgz", member), tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(name, "abc")
    with pytest.raises(InputError, match=r"^some: .*evil' leads out of"):
        unpack("some", tmp_path / "x.zip", tmp_path / "out")
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_in_archives_are_refused(kind: bytes, tmp_path: Path) -> None:
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, "/etc/hostname"
    with pytest.raises(InputError, match="'link', which is no plain file"):
        unpack("some", tar_of(tmp_path / "x.tgz", member), tmp_path / "out")


@pytest.mark.parametrize("name", ["x.tgz", "x.zip"])
def test_a_damaged_archive_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"no archive")
    with pytest.raises(InputError, match=rf"^some: .*{name}' is damaged"):
        unpack("some", tmp_path / name, tmp_path / "out")
