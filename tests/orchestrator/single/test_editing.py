"""`augury generate --input-dir`: edits of a folder, each once, whole, and never lost."""

import csv
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator import yaml12
from orchestrator.parsing import parse_evaluation_sets
from orchestrator.settings import EvaluationSet
from orchestrator.single import editing_folder, editing_run
from tasks import plugins
from tests.orchestrator.single.editing_runs import (
    Run,
    Said,
    check_whole,
    contents,
    here,
    id_in,
    manifest,
    private_files,
    recipe,
    runner,
    write_ddpm,
    write_images,
)
from tests.tasks.own_editors import own_editors

PLAIN = ("--input-dir", "in", "--editor", "negative", "--prompts-file", "prompts.txt")
TO_OUT = ("--output-dir", "out")


@pytest.fixture(autouse=True)
def _named() -> Iterator[None]:
    with own_editors():
        yield


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Twelve images of three classes, and two prompts."""
    write_images(tmp_path / "in")
    (tmp_path / "prompts.txt").write_text("a {class} of glass\nin a forbidden place\n")
    return tmp_path


@pytest.fixture
def run(work: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(work, monkeypatch)


@pytest.fixture
def edit(run: Run, work: Path) -> Callable[..., Said]:
    """Edits `in` into `out`, with a log and with whatever trouble there is."""

    def command(*words: Any, code: int | None = 0) -> Said:
        beside = (f"log={work / 'log'}", f"trouble={work / 'trouble'}")
        said = run(*PLAIN, *TO_OUT, "--set", *beside, *words)
        assert code is None or said.code == code, (said.out, said.err)
        return said

    return command


def num_edited(work: Path) -> int:
    """How often the editor was asked for an image."""
    path = work / "log"
    return path.read_text().count("edit ") if path.exists() else 0


def failures(folder: Path) -> list[dict[str, str]]:
    with (folder / "failures.csv").open() as file:
        return list(csv.DictReader(file))


def test_edits_lie_as_their_sources_do(edit: Callable[..., Said], work: Path) -> None:
    said = edit().out.splitlines()
    assert said[0] == "negative: 12 images of 3 classes, 24 edits"
    assert said[1].startswith("for example one/seen/0001.png: a one of glass")
    assert said[2].startswith("out: 24 edits are there, 24 done now in 0:0")
    assert said[2].endswith("; look at out/contact_sheet.png")
    assert said[3] == "next: augury train --synthetic-dir out ..., or `folder: out`"
    check_whole(work / "out", 24)
    prompts = {row["prompt"]: row["prompt_id"] for row in manifest(work / "out")}
    assert set(prompts) == {
        *(f"a {name} of glass" for name in ("zero", "one", "two")),
        "in a forbidden place",
    }
    sources = [p.relative_to(work / "in") for p in (work / "in").rglob("*.png")]
    assert set(contents(work / "out")) == {
        f"{path.parent}/{path.stem}__{prompt_id}_0.png"
        for path in sources
        for prompt_id in set(prompts.values())
    }
    assert failures(work / "out") == []
    with Image.open(work / "out" / "contact_sheet.png") as sheet:
        assert sheet.width > 800


def test_the_manifest_says_what_each_edit_is(edit: Callable[..., Said], work: Path) -> None:
    edit("--seed", "7", "--per-image", "2")
    rows = manifest(work / "out")
    assert len(rows) == 48
    row = next(row for row in rows if row["replica"] == 1)
    assert row["source"].startswith(f"{row['class']}/seen/")
    assert (row["editor"], row["stamp"]) == ("negative", '{"dtype": "uint8"}')
    assert json.loads(row["settings"]) == {"strength": 10, "batch_size": 5}
    assert (row["cost_usd"], row["seconds"], row["mask_digest"]) == (0.0, 0.5, "")
    assert len({row["seed"] for row in rows}) == len({row["edit_id"] for row in rows}) == 48
    assert recipe(work / "out")["seed"] == 7
    assert "batch_size" not in recipe(work / "out")["editor"]["config"]


def test_the_folder_is_a_dataset(edit: Callable[..., Said], work: Path) -> None:
    edit()
    config = plugins.module("datasets", "image_folder").Config(root=str(work / "out"))
    reader = plugins.build("datasets", plugins.plugin("datasets", "image_folder", config))
    info = reader.identify(lambda path, what, compute: compute(path))
    assert info.classes == ("one", "two", "zero")
    assert sum(info.splits["all"].counts) == 24


def test_what_is_there_is_not_made_again(edit: Callable[..., Said], work: Path) -> None:
    edit()
    before = contents(work / "out")
    assert edit("--dry-run").out.splitlines()[-1] == "0 edits to make, in 0 steps; nothing was made"
    assert "24 edits are there, all done before" in edit().out
    gone = sorted(before)[3]
    (work / "out" / gone).unlink()
    broken = sorted(before)[5]
    (work / "out" / broken).write_bytes(before[broken][:-9])
    said = edit()
    assert "24 edits, 22 of them done before" in said.out
    assert "2 done now" in said.out
    assert num_edited(work) == 26
    assert contents(work / "out") == before
    check_whole(work / "out", 24)


def test_a_finished_folder_keeps_little_beside(edit: Callable[..., Said], work: Path) -> None:
    edit()
    there = private_files(work / "out")
    assert there == ["lock", "store/.writable", "store/notes/store.json"]


def test_images_say_themselves_what_they_are(edit: Callable[..., Said], work: Path) -> None:
    edit()
    before = contents(work / "out")
    shutil.rmtree(work / "out" / ".augury")
    (work / "out" / "manifest.parquet").unlink()
    assert "all done before" in edit().out
    assert num_edited(work) == 24
    assert contents(work / "out") == before
    check_whole(work / "out", 24)


def test_another_source_is_edited_anew_and_no_other(edit: Callable[..., Said], work: Path) -> None:
    edit()
    before = contents(work / "out")
    source = sorted((work / "in").rglob("*.png"))[0]
    Image.fromarray(np.full((9, 7), 40, np.uint8)).save(source)
    extra = work / "in" / "one" / "new.jpg"
    Image.fromarray(np.full((9, 7), 90, np.uint8)).save(extra)
    assert "26 edits are there, 4 done now" in edit().out
    after = contents(work / "out")
    changed = {name for name in before if before[name] != after[name]}
    assert len(changed) == 2
    assert all(source.stem in name for name in changed)
    check_whole(work / "out", 26)


def test_a_neighbour_of_the_same_name_moves_files(edit: Callable[..., Said], work: Path) -> None:
    edit()
    source = sorted((work / "in").rglob("*.png"))[0]
    Image.fromarray(np.full((9, 7), 40, np.uint8)).save(source.with_suffix(".bmp"))
    assert "26 edits are there, 2 done now" in edit().out
    assert num_edited(work) == 26
    check_whole(work / "out", 26)
    names = {Path(name).name.split("__")[0] for name in contents(work / "out")}
    assert {source.name, f"{source.stem}.bmp"} <= names
    assert source.stem not in names


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--seed", "1"), "seed: 0 there, 1 here"),
        (("--set", "strength=3"), "editor.config.strength: 10 there, 3 here"),
        (("--per-image", "2"), "per_image: 1 there, 2 here"),
        (("--mask", "full"), "mask"),
    ],
)
def test_another_recipe_is_refused(
    words: tuple[str, ...], what: str, edit: Callable[..., Said], work: Path
) -> None:
    edit()
    before = contents(work / "out")
    error = edit(*words, code=None).error
    assert error.startswith("--output-dir out: holds edits of another recipe (")
    assert what in error
    (work / "prompts.txt").write_text("another one\n")
    assert "another recipe (prompts:" in edit(code=None).error
    assert contents(work / "out") == before


@pytest.mark.parametrize("trouble", ["build", "stop", "fail"])
def test_a_recipe_of_which_nothing_came_makes_room_for_another(
    trouble: str, edit: Callable[..., Said], work: Path
) -> None:
    (work / "trouble").write_text(trouble)
    edit(code=3 if trouble == "fail" else 2)
    (work / "trouble").unlink()
    edit("--seed", "5")
    assert recipe(work / "out")["seed"] == 5
    check_whole(work / "out", 24)


def test_edits_without_rows_are_edits(edit: Callable[..., Said], work: Path) -> None:
    edit()
    shutil.rmtree(work / "out" / ".augury")
    (work / "out" / "manifest.parquet").unlink()
    assert "holds edits of another recipe" in edit("--seed", "5", code=None).error


def test_what_others_call_a_recipe_stays(edit: Callable[..., Said], work: Path) -> None:
    (work / "out").mkdir()
    text = '{"recipe": {"flour": 500}}'
    (work / "out" / "manifest.json").write_text(text)
    assert "holds edits of another recipe" in edit(code=None).error
    assert (work / "out" / "manifest.json").read_text() == text


def test_batches_are_no_part_of_a_recipe(edit: Callable[..., Said], work: Path) -> None:
    edit()
    assert "all done before" in edit("--set", "batch_size=2").out


def test_edits_of_images_that_are_gone_are_refused(edit: Callable[..., Said], work: Path) -> None:
    edit()
    gone = sorted((work / "in").rglob("*.png"))[0]
    gone.unlink()
    files = sorted((work / "out").glob(f"*/*/{gone.stem}__*.png"))
    names = [path.relative_to(work / "out").as_posix() for path in files]
    assert edit(code=None).error == (
        f"--output-dir out: holds edits of images that are no longer there: {names[0]!r}, "
        f"{names[1]!r}: remove these files, or name a new folder"
    )
    for path in files:
        path.unlink()
    assert "22 edits are there, all done before" in edit().out
    check_whole(work / "out", 22)


def test_other_files_are_refused(edit: Callable[..., Said], work: Path) -> None:
    (work / "out").mkdir()
    (work / "out" / "notes.txt").write_text("mine")
    assert edit(code=None).error == (
        "--output-dir out: holds other files: 'notes.txt'; name a new folder"
    )
    assert [path.name for path in (work / "out").iterdir()] == ["notes.txt"]


def test_two_runs_do_not_write_at_once(edit: Callable[..., Said], work: Path) -> None:
    edit()
    next((work / "out").glob("*/*/*.png")).unlink()
    rows = work / "out" / ".augury" / "rows" / "of-another.parquet"
    rows.parent.mkdir()
    rows.touch()
    with (work / "out" / ".augury" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run is writing to it" in edit(code=None).error
    assert rows.exists()
    edit()
    check_whole(work / "out", 24)


# What is in between when a run is killed


def test_a_step_that_was_not_written_yet_is_written_by_the_next_run(
    edit: Callable[..., Said], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver is gone after a step is on record, and before its images are in the folder."""

    class Killed(BaseException):
        pass

    def killed(self: Any, step: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(editing_run._Exporting, "finished", killed)
        with pytest.raises(Killed):
            edit()
    assert contents(work / "out") == {}
    first = num_edited(work)
    assert first == 24
    # As the lock of a process that was killed is.
    said = edit_again(edit, monkeypatch)
    assert "24 edits are there, 24 done now" in said.out
    assert num_edited(work) == first
    check_whole(work / "out", 24)


def edit_again(edit: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> Said:
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", lambda *_: None)
        return edit()


def many(work: Path) -> None:
    """Enough images for three steps."""
    write_images(work / "in", 40)


def test_bytes_do_not_depend_on_where_a_run_was_stopped(
    edit: Callable[..., Said], run: Run, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(work)
    run(*PLAIN, "--output-dir", "undisturbed")

    class Killed(BaseException):
        pass

    write = editing_folder.EditFolder._write
    written: list[str] = []

    def killed_later(self: Any, name: str, data: bytes) -> None:
        if len(written) == 40:
            raise Killed
        written.append(name)
        write(self, name, data)

    with monkeypatch.context() as patched:
        patched.setattr(editing_folder.EditFolder, "_write", killed_later)
        with pytest.raises(Killed):
            edit()
    there = contents(work / "out")
    assert 0 < len(there) < 80
    edit_again(edit, monkeypatch)
    assert contents(work / "out") == contents(work / "undisturbed")
    check_whole(work / "out", 80)
    # The images of a step of which only a part was written are known by it, and not by their files.
    assert {(row["stamp"], row["seconds"]) for row in manifest(work / "out")} == {
        ('{"dtype": "uint8"}', 0.5)
    }


def test_a_full_disk_costs_nothing_that_was_made(
    edit: Callable[..., Said], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(work)
    write = editing_folder.EditFolder._write
    written: list[str] = []

    def full(self: Any, name: str, data: bytes) -> None:
        if len(written) == 45:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(name)
        write(self, name, data)

    with monkeypatch.context() as patched:
        patched.setattr(editing_folder.EditFolder, "_write", full)
        error = edit(code=None).error
    assert error == (
        "--output-dir out: takes no more (No space left on device): 42 of 80 edits are there and "
        "whole, 38 are left: make room, and run this again"
    )
    edit()
    check_whole(work / "out", 80)
    # One step was made twice at most: that which could not be written.
    assert num_edited(work) <= 80 + 32


def test_a_full_disk_of_steps_is_said_in_words(
    edit: Callable[..., Said], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Arrow says it, on whichever worker."""
    text = "Error writing bytes to file. Detail: [errno 28] No space left on device"

    def lost(steps: Any, *rest: Any) -> Any:
        outcome = here({}, *rest)
        object.__setattr__(outcome, "losses", dict.fromkeys(steps, f"OSError: [Errno 28] {text}"))
        return outcome

    with monkeypatch.context() as patched:
        patched.setattr(editing_run, "on_ray", lost)
        assert edit(code=3).err.splitlines()[-1] == (
            "incomplete: 24 of 24 edits are left: out takes no more (No space left on device): "
            "make room (24); out/failures.csv names them; run the same command again to go on"
        )

    def broken(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, text)

    with monkeypatch.context() as patched:
        patched.setattr(editing_run, "on_ray", broken)
        error = edit(code=None).error
    assert error.startswith("--output-dir out: takes no more (No space left on device): 0 of 24 ")


# What an editor cannot make


def test_refusals_are_kept_and_not_asked_again(edit: Callable[..., Said], work: Path) -> None:
    (work / "trouble").write_text("refuse")
    said = edit()
    assert "12 of the 24" not in said.out
    assert "12 edits refused by the model or its service, and not asked again: not safe (12)" in (
        said.out
    )
    check_whole(work / "out", 24, refused=12)
    assert {(row["what"], row["why"]) for row in failures(work / "out")} == {
        ("refused", "not safe")
    }
    (work / "trouble").unlink()
    edit()
    assert num_edited(work) == 12


def test_a_failed_step_is_left_and_named(edit: Callable[..., Said], work: Path) -> None:
    (work / "trouble").write_text("fail")
    said = edit(code=3)
    assert said.err.splitlines()[-1] == (
        "incomplete: 24 of 24 edits are left: RuntimeError: the model gave no finite numbers (24); "
        "out/failures.csv names them; run the same command again to go on"
    )
    assert len(failures(work / "out")) == 24
    (work / "trouble").unlink()
    edit()
    check_whole(work / "out", 24)
    assert failures(work / "out") == []


@pytest.mark.parametrize("trouble", ["build", "stop"])
def test_an_editor_that_cannot_go_on_stops_the_run(
    trouble: str, edit: Callable[..., Said], work: Path
) -> None:
    many(work)
    (work / "trouble").write_text(trouble)
    why = {"build": "there is no checkpoint of that name", "stop": "the account has no credit left"}
    assert edit(code=None).error == f"negative: {why[trouble]}"
    assert contents(work / "out") == {}
    # One step was begun, and no other.
    assert num_edited(work) == 0
    (work / "trouble").unlink()
    edit()
    check_whole(work / "out", 80)


def test_a_run_that_was_drained_says_what_is_left(
    edit: Callable[..., Said], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(work)

    def half(steps: Any, *rest: Any) -> Any:
        first = dict(list(steps.items())[:1])
        outcome = here(first, *rest)
        object.__setattr__(outcome, "drained", True)
        return outcome

    with monkeypatch.context() as patched:
        patched.setattr(editing_run, "on_ray", half)
        said = edit(code=3)
    assert "48 of 80 edits are left: not begun, as you stopped it (48)" in said.err
    assert "out: 32 of 80 edits are there" in said.out
    check_whole(work / "out", 32)
    edit()
    check_whole(work / "out", 80)


def test_a_step_that_the_machine_took_away_is_left(
    edit: Callable[..., Said], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(steps: Any, *rest: Any) -> Any:
        outcome = here({}, *rest)
        object.__setattr__(outcome, "losses", dict.fromkeys(steps, "OSError: disk quota"))
        return outcome

    with monkeypatch.context() as patched:
        patched.setattr(editing_run, "on_ray", lost)
        assert "24 of 24 edits are left: OSError: disk quota (24)" in edit(code=3).err
    edit()
    check_whole(work / "out", 24)


def test_steps_stay_in_a_store_that_is_named(
    edit: Callable[..., Said], run: Run, work: Path
) -> None:
    beside = ("--set", f"log={work / 'log'}")
    run(*PLAIN, *beside, "--output-dir", "a", "--store", "store")
    run(*PLAIN, *beside, "--output-dir", "b", "--store", "store")
    assert num_edited(work) == 24
    assert contents(work / "a") == contents(work / "b")
    check_whole(work / "b", 24)
    assert len([*(work / "store").glob("edit_files/*/done.json")]) == 1


# Augmentations, masks, folders without classes


def test_augmentations_are_written_by_the_same_command(run: Run, work: Path) -> None:
    words = ("--input_dir", "in", "--augmentation", "rotation", "--augm_probability", "0.5")
    said = run(*words, "--per_image", "3", "--output_dir", "turned")
    assert said.code == 0, said.err
    check_whole(work / "turned", 36)
    copies = 0
    for row in manifest(work / "turned"):
        assert row["prompt_id"] == "rotation"
        with (
            Image.open(work / "in" / row["source"]) as before,
            Image.open(work / "turned" / row["file"]) as after,
        ):
            copies += np.array_equal(np.asarray(before), np.asarray(after))
    assert 8 <= copies <= 28


def test_masks_are_told_apart_by_their_content(edit: Callable[..., Said], work: Path) -> None:
    masks = work / "masks"
    for path in (work / "in").rglob("*.png"):
        mask = np.zeros((10, 8), np.uint8)
        mask[:, :4] = 255
        target = masks / path.relative_to(work / "in")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(target)
    edit("--mask", "masks", "--invert-mask")
    check_whole(work / "out", 24)
    for row in manifest(work / "out"):
        assert row["mask_digest"]
        with (
            Image.open(work / "in" / row["source"]) as before,
            Image.open(work / "out" / row["file"]) as after,
        ):
            same = np.asarray(before) == np.asarray(after)
        assert same[:, :4].all()
        assert not same[:, 4:].all()


@pytest.mark.parametrize(
    ("target", "root"), [("out", "out"), ("an: other", '"an: other"'), ("new-1/a", "new-1/a")]
)
def test_edits_of_a_test_split_are_tested_on(target: str, root: str, run: Run, work: Path) -> None:
    write_images(work / "test", 3)
    words = ("--input-dir", "test", "--augmentation", "rotation", "--output-dir", target)
    line = run(*words).out.splitlines()[-1]
    assert line == (
        "next: test on it, in a study: `evaluate_on: {shifted: {name: image_folder, root: "
        f"{root}}}}}`"
    )
    (document,) = re.findall("`(.*)`", line)
    (found,) = parse_evaluation_sets(yaml12.parse(document)["evaluate_on"])
    assert isinstance(found, EvaluationSet)
    assert (found.dataset.reader.name, found.dataset.reader.config.root) == ("image_folder", target)


def test_a_generator_that_draws_less_than_the_images_says_so(run: Run, work: Path) -> None:
    write_ddpm(work / "ddpm.safetensors", side=8)
    words = ("--input-dir", "in", "--editor", "sdedit", "--checkpoint", "ddpm.safetensors")
    assert run(*words, *TO_OUT, "--dry-run").err == (
        "warning: --checkpoint: draws 8 × 8 in grey, and 12 of 12 images show more "
        "(one/seen/0001.png: 8 × 10 in grey): their edits are blurred, as they are scaled up from "
        "it\n"
    )
    write_ddpm(work / "ddpm.safetensors", side=16)
    assert run(*words, *TO_OUT, "--dry-run").err == ""
    Image.fromarray(np.full((9, 7, 3), (40, 80, 120), np.uint8)).save(work / "in" / "one" / "c.png")
    said = run(*words, *TO_OUT, "--dry-run").err
    assert "1 of 13 images show more (one/c.png: 7 × 9 in colour)" in said


def test_images_may_lie_beside_class_folders_or_without_any(
    edit: Callable[..., Said], run: Run, work: Path
) -> None:
    (work / "prompts.txt").write_text("of glass\n")
    Image.fromarray(np.full((9, 7), 90, np.uint8)).save(work / "in" / "top.png")
    edit()
    rows = {row["source"]: row for row in manifest(work / "out")}
    assert rows["top.png"]["class"] == ""
    assert rows["top.png"]["file"].startswith("top__p")
    (work / "flat").mkdir()
    shutil.copy(work / "in" / "top.png", work / "flat")
    words = ("--input-dir", "flat", "--editor", "negative", "--prompts-file", "prompts.txt")
    assert run(*words, "--output-dir", "flat-out").code == 0
    assert [path.name for path in (work / "flat-out").glob("top__*.png")]


def test_the_sheet_of_a_folder_is_no_image_of_it(
    run: Run, edit: Callable[..., Said], work: Path
) -> None:
    edit()
    words = ("--input-dir", "out", "--augmentation", "rotation", "--output-dir", "turned")
    assert "24 images of 3 classes" in run(*words).out


def test_names_may_be_any_text(edit: Callable[..., Said], work: Path) -> None:
    odd = work / "in" / 'été: 100 % "new"' / "caf\u00e9 \u732b.png"
    odd.parent.mkdir()
    shutil.copy(sorted((work / "in").rglob("*.png"))[0], odd)
    edit()
    check_whole(work / "out", 26)
    assert "all done before" in edit().out


def test_names_that_are_no_text_are_refused(edit: Callable[..., Said], work: Path) -> None:
    odd = os.fsencode(work / "in" / "one") + b"/caf\xe9.png"
    shutil.copy(os.fsencode(sorted((work / "in").rglob("*.png"))[0]), odd)
    error = edit(code=None).error
    assert error == "--input-dir: the name of 'one/caf\\udce9.png' is no text in UTF-8: rename it"


def test_prompts_by_class_and_by_weight(edit: Callable[..., Said], work: Path) -> None:
    said = {"zero": "a hole", "one": ["a stick", "a line"], "two": {"a swan": 3, "a hook": 1}}
    (work / "prompts.json").write_text(json.dumps(said))
    edit("--prompts-file", "prompts.json", "--per-image", "2")
    rows = manifest(work / "out")
    by_class: dict[str, set[str]] = {}
    for row in rows:
        by_class.setdefault(row["class"], set()).add(row["prompt"])
    assert by_class["zero"] == {"a hole"}
    assert by_class["one"] == {"a stick", "a line"}
    assert by_class["two"] <= {"a swan", "a hook"}
    per_image = {name: [r["source"] for r in rows if r["class"] == name] for name in by_class}
    assert all(
        len(per_image[n]) == m * len(set(per_image[n]))
        for n, m in {"zero": 2, "one": 4, "two": 2}.items()
    )


def test_equal_images_are_edited_once(edit: Callable[..., Said], work: Path) -> None:
    source = sorted((work / "in").rglob("*.png"))[0]
    shutil.copy(source, source.with_name("twin.png"))
    edit()
    assert num_edited(work) == 24
    rows = [row for row in manifest(work / "out") if row["class"] == source.parts[-3]]
    twins = {row["edit_id"] for row in rows if "twin" in row["source"]}
    assert twins == {row["edit_id"] for row in rows if source.name in row["source"]}
    check_whole(work / "out", 26)
    assert id_in(work / "out" / next(r["file"] for r in rows if "twin" in r["source"])) in twins
