"""What an edit is called: its id, the seeds that follow from it, and the name of its file."""

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from tasks.specs import canonical, canonical_json

NAME_BYTES = 180
"""Of a file's name before `__<prompt id>_<k>.png`: disks take 255 in all, and a file that is not
whole yet has a longer name."""


def edit_id(
    *, recipe: Any, seed: int, source_hash: str, prompt: str, replica: int, mask: str = ""
) -> str:
    """Name an edit by what defines it: sha256 as 64 hexadecimal digits.

    Whatever an edit depends on by rounding alone, `batch_size`, and what says where (locators) are
    left out, so that a paid answer is found again after either changed.

    Args:
        recipe: the editor as a `Plugin`, or whatever else `canonical` takes, such as a tuple of it
            and the key of its fit.
        seed: of the whole set.
        source_hash: sha256 of the image.
        prompt: its text, with the class in it.
        mask: `Masks.digest_of` the image; empty where there is none.
    """
    parts = {
        "recipe": _without_batch_size(canonical(recipe)),
        "seed": seed,
        "source": source_hash,
        "prompt": prompt,
        "replica": replica,
        "mask": mask,
    }
    return hashlib.sha256(canonical_json({"edit": parts}).encode()).hexdigest()


def edit_seed(id: str) -> int:
    """The seed of all noise of an edit: 63 bits of what it is, on any worker, in any batch."""
    return _bits(["edit seed", id])


def mask_seed(*, seed: int, source_hash: str, replica: int) -> int:
    """The seed of an image's random mask: prompts share it, replicas do not."""
    return _bits(["mask seed", seed, source_hash, replica])


def _bits(parts: Sequence[Any]) -> int:
    return int.from_bytes(hashlib.sha256(canonical_json(parts).encode()).digest()[:8]) >> 1


def _without_batch_size(recipe: Any) -> Any:
    """Of the recipe itself, of its `config` where it is a Plugin's, or of each part in a list."""
    if isinstance(recipe, list):
        return [_without_batch_size(part) for part in recipe]
    if not isinstance(recipe, dict):
        return recipe
    kept = {key: value for key, value in recipe.items() if key != "batch_size"}
    return kept | {"config": _without_batch_size(kept["config"])} if "config" in kept else kept


def file_name(stem: str, prompt_id: str, replica: int) -> str:
    """The file of an edit below the output folder.

    Args:
        stem: of its source, from `stems`.
    """
    return f"{stem}__{prompt_id}_{replica}.png"


def stems(sources: Iterable[str]) -> dict[str, str]:
    """How the files of each image's edits begin, in the folder that the image has in the input.

    That is its name without suffix. Where two images of one folder would share it (`a.jpg` and
    `a.png`; `A.png` too, as some disks do not tell cases apart), both keep their suffix; where that
    tells nothing either, eight digits of their path's sha256 follow. What some disk does not take
    is `_`, and a name too long is cut. So names depend on what else the folder holds, and on no
    order.

    Args:
        sources: relative paths with `/`, each once.
    """
    given = list(sources)
    assert len(set(given)) == len(given), "each source stands once"
    found = {source: _STEMS[0](source) for source in given}
    longer = dict.fromkeys(given, 0)
    while twice := _sharing(found):
        for sharing in twice:
            # Who has the suffix already keeps the name: `a.jpg` before `a.jpg.bmp`.
            least = min(longer[source] for source in sharing)
            assert least + 1 < len(_STEMS), f"{sharing} begin with the same digits"
            for source in sharing:
                if longer[source] == least:
                    longer[source] += 1
                    found[source] = _STEMS[longer[source]](source)
    return found


def _sharing(found: Mapping[str, str]) -> list[list[str]]:
    """The sources that have one name, as disks see it."""
    groups: dict[str, list[str]] = {}
    for source, stem in found.items():
        groups.setdefault(_as_disks_see_it(stem), []).append(source)
    return [group for group in groups.values() if len(group) > 1]


def _plain(source: str) -> str:
    return _placed(source, PurePosixPath(source).stem)


def _with_suffix(source: str) -> str:
    return _placed(source, PurePosixPath(source).name)


def _numbered(source: str) -> str:
    return _placed(source, PurePosixPath(source).name, always=True)


_STEMS: tuple[Callable[[str], str], ...] = (_plain, _with_suffix, _numbered)


def _placed(source: str, name: str, always: bool = False) -> str:
    folder = "/".join(_clean(part) for part in PurePosixPath(source).parent.parts)
    cleaned = _clean(name)
    if always or len(cleaned.encode()) > NAME_BYTES:
        # Bytes that are no text stand in Python's names as what cannot be encoded.
        digest = hashlib.sha256(source.encode(errors="surrogatepass")).hexdigest()[:8]
        cut = cleaned.encode()[: NAME_BYTES - 9].decode(errors="ignore")
        cleaned = f"{cut}~{digest}"
    return f"{folder}/{cleaned}" if folder else cleaned


def _clean(name: str) -> str:
    """Without control characters, bytes that are no text, and what other systems refuse."""
    return "".join(
        "_" if unicodedata.category(each) in ("Cc", "Cs") or each in '<>:"\\|?*' else each
        for each in name
    )


def _as_disks_see_it(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
