"""Ids, seeds and file names of edits: the same for the same, different for what differs."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.edits.naming import NAME_BYTES, edit_id, edit_seed, file_name, mask_seed, stems
from tasks.specs import Plugin

EDIT: dict[str, Any] = {
    "recipe": {"name": "sdedit", "version": 1, "config": {"strength": 0.5, "batch_size": 8}},
    "seed": 0,
    "source_hash": "ab" * 32,
    "prompt": "a dog in snow",
    "replica": 0,
    "mask": "",
}
OTHERS: list[dict[str, Any]] = [
    {"recipe": {"name": "sdedit", "version": 1, "config": {"strength": 0.6, "batch_size": 8}}},
    {"recipe": {"name": "sdedit", "version": 2, "config": {"strength": 0.5, "batch_size": 8}}},
    {"seed": 1},
    {"source_hash": "ac" * 32},
    {"prompt": "a dog in the snow"},
    {"replica": 1},
    {"mask": "cd" * 32},
]


def test_an_id_is_of_everything_that_defines_an_edit() -> None:
    ids = [edit_id(**EDIT), *(edit_id(**EDIT | other) for other in OTHERS)]
    assert len(set(ids)) == len(ids)
    assert edit_id(**EDIT) == ids[0]
    assert all(len(each) == 64 and int(each, 16) >= 0 for each in ids)
    seeds = [edit_seed(each) for each in ids]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert any(seed >= 2**62 for seed in seeds)


def test_paid_answers_are_found_again() -> None:
    """Ids and seeds are kept on disk and may never change."""
    assert edit_id(**EDIT) == ("72e87030e7d4da6a5ae10f95afb64ea3d8cb08e9b9cd92b0475f037492e4d804")
    assert edit_seed(edit_id(**EDIT)) == 3298976317683841099
    assert mask_seed(seed=0, source_hash="ab" * 32, replica=0) == 3236828269086491284


def test_the_batch_size_is_no_part_of_an_edit() -> None:
    recipe = Plugin(name="sdedit", version=1, config={"strength": 0.5, "batch_size": 8})
    assert edit_id(**EDIT | {"recipe": recipe}) == edit_id(**EDIT)
    larger = replace(recipe, config={"strength": 0.5, "batch_size": 64})
    assert edit_id(**EDIT | {"recipe": larger}) == edit_id(**EDIT)
    beside = [(each, "the key of a fit", 3) for each in (recipe, larger)]
    assert len({edit_id(**EDIT | {"recipe": parts}) for parts in beside}) == 1
    assert edit_id(**EDIT | {"recipe": beside[0]}) != edit_id(**EDIT)
    flat = {"strength": 0.5, "batch_size": 3}
    assert edit_id(**EDIT | {"recipe": flat}) == edit_id(**EDIT | {"recipe": {"strength": 0.5}})


def test_masks_have_seeds_of_their_own() -> None:
    seeds = {
        mask_seed(seed=seed, source_hash=source, replica=replica)
        for seed in (0, 1)
        for source in ("aa", "ab")
        for replica in (0, 1)
    }
    assert len(seeds) == 8


def names_of(*sources: str) -> list[str]:
    found = stems(sources)
    assert list(found) == list(sources)
    return list(found.values())


def test_names_keep_folders_and_names() -> None:
    assert names_of("cat/persian/01.jpg", "dog/01.jpg", "02.PNG", "a.b.png", "noext") == [
        "cat/persian/01",
        "dog/01",
        "02",
        "a.b",
        "noext",
    ]
    assert file_name("cat/01", "p0123456789", 12) == "cat/01__p0123456789_12.png"


def test_images_that_share_a_name_keep_their_suffix() -> None:
    assert names_of("c/a.jpg", "c/a.png", "d/a.png") == ["c/a.jpg", "c/a.png", "d/a"]
    assert names_of("a.jpg", "a.png", "a.jpg.bmp") == ["a.jpg", "a.png", "a.jpg.bmp"]
    assert names_of("A.png", "a.jpg") == ["A.png", "a.jpg"]
    same = names_of("a.png", "A.PNG", "b.png")
    assert same[2] == "b"
    assert [name.partition("~")[0] for name in same[:2]] == ["a.png", "A.PNG"]
    assert len({name.casefold() for name in same}) == 3
    composed = names_of(
        "\N{LATIN SMALL LETTER E WITH ACUTE}.png", "e\N{COMBINING ACUTE ACCENT}.png"
    )
    assert all("~" in name for name in composed)


def test_long_and_odd_names_can_be_written(tmp_path: Path) -> None:
    undecodable = os.fsdecode(b"caf\xe9.png")
    sources = [
        "x/" + "long" * 60 + "a.png",
        "x/" + "long" * 60 + "b.png",
        "\N{SNOWMAN}" * 80 + ".png",
        'a\nb:"c"?.png',
        "a_b__c__.png",
        undecodable,
        "-rf.png",
    ]
    found = stems(sources)
    assert len(set(found.values())) == len(sources)
    assert found['a\nb:"c"?.png'] == "a_b__c__.png~" + found['a\nb:"c"?.png'][-8:]
    assert found[undecodable] == "caf_"
    for source, stem in found.items():
        name = file_name(stem, "p0123456789", 1000)
        assert len(Path(name).name.encode()) <= NAME_BYTES + 22
        assert Path(name).parent == Path(source).parent
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == len(sources)


PARTS = st.text(st.sampled_from("aAb._~?\N{SNOWMAN}"), min_size=1, max_size=4).filter(
    lambda part: part.strip(".") != ""
)


@given(sources=st.lists(st.tuples(PARTS, st.sampled_from(["png", "jpg", "PNG"])), unique=True))
def test_no_two_images_share_a_name_in_any_order(sources: list[tuple[str, str]]) -> None:
    given_names = [f"{stem}.{suffix}" for stem, suffix in sources]
    found = stems(given_names)
    assert len({name.casefold() for name in found.values()}) == len(given_names)
    assert stems(reversed(given_names)) == found


def test_a_name_twice_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="stands once"):
        stems(["a.png", "a.png"])
