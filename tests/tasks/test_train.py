"""Training is exact: the same bits again, also after an interruption; weights stand alone."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tasks import plugins
from tasks.classification import ClassifierInfo, load_weights, save_weights
from tasks.classifiers import timm
from tasks.drawing import batch_rows
from tasks.errors import InputError
from tasks.images import Images, Normalise, Source, part
from tasks.packs import Example, Pack, read_all, select, write_pack
from tasks.predict import predict
from tasks.predictions import StoredPredictions, load_predictions
from tasks.results import read_result
from tasks.specs import (
    EvaluateSpec,
    SyntheticImages,
    TrialSpec,
)
from tasks.train import TrainingDiverged, train
from tests.tasks.trials import (
    CLASSES,
    Memory,
    assert_equal_results,
    history_of,
    packs_of,
    some_digits,
    trained,
    trial,
    write,
)

pytestmark = pytest.mark.usefixtures("one_thread")


# The same bits


def test_a_trial_gives_the_same_bits_again(real: Path, tmp_path: Path) -> None:
    one = trained(trial(), real, tmp_path / "one")
    torch.rand(7)  # what a worker did before is of no consequence
    assert_equal_results(one, trained(trial(), real, tmp_path / "two"))


def test_another_seed_gives_another_network(real: Path, tmp_path: Path) -> None:
    one = trained(trial(), real, tmp_path / "one")
    other = trained(trial(seed=1), real, tmp_path / "other")
    assert history_of(one) != history_of(other)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("stop", [1, 2])
def test_a_resumed_trial_equals_one_that_never_stopped(
    optimizer: str, stop: int, real: Path, tmp_path: Path
) -> None:
    spec = trial(optimizer=optimizer)
    whole = trained(spec, real, tmp_path / "whole")
    memory = Memory(saves=True)
    (tmp_path / "half").mkdir()
    work = train(spec, packs_of(spec, real), tmp_path / "half", memory)
    # The last state saved lies between evaluations, at steps 7 and 11.
    for _ in itertools.islice(work, stop):
        pass
    next(work)
    del work
    assert memory.saved is not None
    assert not list((tmp_path / "half").iterdir())
    state = memory.load()
    assert state is not None
    assert state["step"] == 4 * (stop + 1) - 1
    assert len(state["history"]) == stop
    torch.rand(3)
    assert_equal_results(whole, trained(spec, real, tmp_path / "half", checkpoints=memory))


def test_a_trial_that_was_lost_at_its_end_only_writes(real: Path, tmp_path: Path) -> None:
    memory = Memory(saves=True)
    whole = trained(trial(), real, tmp_path / "whole", checkpoints=memory)
    (tmp_path / "again").mkdir()
    assert list(train(trial(), {"p": real}, tmp_path / "again", memory)) == []
    assert_equal_results(whole, tmp_path / "again")


# What is recorded


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(12, 4, [4, 8, 12]), (10, 4, [4, 8, 10]), (3, 3, [3]), (1, 1, [1])],
)
def test_validation_is_looked_at_every_so_many_steps_and_at_the_end(
    steps: int, every: int, expected: list[int], real: Path, tmp_path: Path
) -> None:
    spec = trial(steps=steps, eval_every=every, warmup_steps=0)
    (tmp_path / "out").mkdir()
    told = list(train(spec, {"p": real}, tmp_path / "out", Memory()))
    assert [progress.done for progress in told] == expected
    assert {progress.total for progress in told} == {steps}
    history = history_of(tmp_path / "out")
    assert [row["step"] for row in history] == expected
    assert [progress.metrics for progress in told] == history
    assert history[-1]["epoch"] == steps / every


def test_a_trial_learns(real: Path, tmp_path: Path) -> None:
    out = trained(trial(steps=60, eval_every=20), real, tmp_path / "out")
    history = history_of(out)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert history[-1]["val_accuracy"] > 0.6
    for row in history:
        assert row["train_error"] == 1 - row["train_accuracy"]
        assert row["val_error"] == 1 - row["val_accuracy"]
    result = read_result(out)
    assert (result["num_training"], result["num_validation"]) == (100, 50)
    assert result["input_size"] == 8


def test_validation_selects_the_best_and_ties_go_to_the_earlier(real: Path, tmp_path: Path) -> None:
    out = trained(trial(steps=60, eval_every=1), real, tmp_path / "out")
    result = read_result(out)
    accuracies = [row["val_accuracy"] for row in history_of(out)]
    assert accuracies.count(max(accuracies)) > 1, "a tie is what is tested"
    first = accuracies.index(max(accuracies))
    assert result["selected_step"] == first + 1
    assert result["scores"] == {"val_top1": max(accuracies), "val_top1_last": accuracies[-1]}


def test_selected_weights_are_those_of_the_selected_step(real: Path, tmp_path: Path) -> None:
    """Found again by validating what was stored."""
    out = trained(trial(steps=40, eval_every=2, lr=0.05), real, tmp_path / "out")
    result = read_result(out)
    for name, score in (("selected", "val_top1"), ("last", "val_top1_last")):
        assert accuracy_of(out / f"{name}.safetensors", real) == result["scores"][score]


def accuracy_of(weights: Path, real: Path) -> float:
    """On the validation images of `trial()`."""
    classifier, classes = load_weights(weights)
    pack = Pack(real)
    rows = select(pack, trial().cell.images)[0]
    place = torch.device("cpu")
    images = Images(
        Source([part(pack, rows, classes)], classifier.input_size), classifier.channels, place
    )
    normalise = Normalise(classifier.mean, classifier.std, place)
    classifier.network.eval()
    with torch.no_grad():
        logits = classifier.network(normalise(images.batch(np.arange(len(images)))))
    return float((logits.argmax(1) == images.labels).double().mean())


def test_schedules_differ(real: Path, tmp_path: Path) -> None:
    one, other = (
        trained(trial(schedule=name, warmup_steps=0), real, tmp_path / name)
        for name in ("cosine", "constant")
    )
    assert history_of(one) != history_of(other)


def test_a_diverged_training_is_no_result(real: Path, tmp_path: Path) -> None:
    spec = trial(optimizer="sgd", lr=1e30, warmup_steps=0)
    with pytest.raises(TrainingDiverged, match=r"not finite after 4 steps: try a lower train\.lr"):
        trained(spec, real, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


# Synthetic images


def permuted(examples: list[Example], order: tuple[str, ...]) -> list[Example]:
    """The same images in a pack whose classes stand in another order."""
    return [replace(example, label=order.index(CLASSES[example.label])) for example in examples]


def with_set(spec: TrialSpec, counts: tuple[int, ...]) -> TrialSpec:
    return replace(spec, cell=replace(spec.cell, sets=(SyntheticImages(pack="s", counts=counts),)))


def test_labels_go_by_name(real: Path, tmp_path: Path) -> None:
    order = tuple("9876543210")
    there = write(tmp_path / "set", permuted(some_digits("train"), order), order)
    pack = Pack(there)
    found = part(pack, np.arange(len(pack)), CLASSES)
    assert [order[label] for label in pack.labels] == [CLASSES[label] for label in found.labels]


def test_a_set_may_hold_some_of_the_classes(real: Path, tmp_path: Path) -> None:
    few = [e for e in some_digits("train") if e.label in (3, 7)]
    there = write(tmp_path / "set", permuted(few, ("7", "3")), ("7", "3"))
    out = trained(with_set(trial(), (4, 6)), real, tmp_path / "out", (there,))
    assert read_result(out)["num_training"] == 110


def test_training_on_synthetic_images_alone_is_training_on_their_labels(
    real: Path, tmp_path: Path
) -> None:
    order = tuple("9876543210")
    there = write(tmp_path / "set", permuted(some_digits("train"), order), order)
    spec = with_set(trial(training=0, steps=60, eval_every=60), (15,) * 10)
    out = trained(spec, real, tmp_path / "out", (there,))
    result = read_result(out)
    assert (result["num_training"], result["num_validation"]) == (150, 50)
    # Labels by index would teach all but nothing of what validation asks.
    assert result["scores"]["val_top1"] > 0.6


# Batches


@pytest.mark.parametrize(
    ("num_images", "batch_size"), [(10, 3), (10, 10), (7, 16), (1, 4), (64, 16)]
)
def test_every_pass_has_every_image_once(num_images: int, batch_size: int) -> None:
    steps = range(3 * num_images)
    drawn = np.concatenate([batch_rows(num_images, batch_size, step, (5,)) for step in steps])
    assert len(drawn) == len(steps) * batch_size
    passes = drawn.reshape(-1, num_images)
    assert all(sorted(each.tolist()) == list(range(num_images)) for each in passes)
    if num_images > 5:
        assert len({tuple(each.tolist()) for each in passes}) == len(passes)


def test_a_batch_is_a_function_of_its_step_and_seed() -> None:
    forwards = [batch_rows(10, 4, step, (1,)).tolist() for step in range(20)]
    backwards = [batch_rows(10, 4, step, (1,)).tolist() for step in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert forwards != [batch_rows(10, 4, step, (2,)).tolist() for step in range(20)]


def test_seeds_and_passes_are_not_confused() -> None:
    """Pass 1 of seed 0 is not pass 0 of seed 1."""
    assert batch_rows(50, 50, 1, (0,)).tolist() != batch_rows(50, 50, 0, (1,)).tolist()


def test_a_batch_may_be_larger_than_the_data(real: Path, tmp_path: Path) -> None:
    out = trained(trial(training=1, batch_size=64, steps=3, eval_every=1), real, tmp_path / "out")
    assert read_result(out)["num_training"] == 10
    assert len(history_of(out)) == 3


# Weights and predictions


@pytest.fixture(scope="module")
def result(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trial of 40 steps."""
    return trained(trial(steps=40, eval_every=10), real, tmp_path_factory.mktemp("trial"))


def predicted(trial_folder: Path, test: Path, out: Path) -> StoredPredictions:
    out.mkdir()
    read_all(predict(EvaluateSpec(trial="t", test="p"), {"t": trial_folder, "p": test}, out))
    return load_predictions(out / "predictions.npz")


def test_predictions_of_validation_images_are_what_training_said(
    result: Path, real: Path, tmp_path: Path
) -> None:
    stored = predicted(result, real, tmp_path / "out")
    rows = select(Pack(real), trial().cell.images)[0]
    scores = read_result(result)["scores"]
    assert stored.last is not None
    for found, name in ((stored.selected, "val_top1"), (stored.last, "val_top1_last")):
        hits = found[rows].argmax(1) == stored.labels[rows]
        assert hits.mean() == pytest.approx(scores[name])


def test_predictions_are_probabilities_of_every_test_image(
    result: Path, test_pack: Path, tmp_path: Path
) -> None:
    stored = predicted(result, test_pack, tmp_path / "out")
    assert stored.selected.shape == (150, 10)
    assert np.allclose(stored.selected.sum(1), 1, atol=1e-5)
    assert np.array_equal(stored.labels, Pack(test_pack).labels)
    assert read_result(tmp_path / "out")["images"] == 150


def test_weights_that_were_not_kept_are_asked_for_in_one_line(
    result: Path, test_pack: Path, tmp_path: Path
) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "selected.safetensors").write_bytes(
        (result / "selected.safetensors").read_bytes()
    )
    assert predicted(tmp_path / "kept", test_pack, tmp_path / "out").last is None
    with pytest.raises(InputError, match=r"weights of this trial were not kept"):
        predicted(tmp_path, test_pack, tmp_path / "none")


def test_a_test_set_in_another_order_is_matched_by_name(
    result: Path, test_pack: Path, tmp_path: Path
) -> None:
    order = tuple("9876543210")
    other = write(tmp_path / "test", permuted(some_digits("test"), order), order)
    same, turned = (
        predicted(result, test, tmp_path / out) for test, out in ((test_pack, "a"), (other, "b"))
    )
    assert np.array_equal(turned.selected[:, ::-1], same.selected)
    assert np.array_equal(9 - turned.labels, same.labels)


def test_a_test_set_of_other_classes_is_refused(result: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "test", some_digits("test"), tuple("abcdefghij"))
    with pytest.raises(InputError, match=r"selected\.safetensors: of 10 classes it does not know"):
        predicted(result, other, tmp_path / "out")


def test_a_weights_file_stands_alone(result: Path) -> None:
    classifier, classes = load_weights(result / "last.safetensors")
    assert classes == CLASSES
    assert classifier.resolved == "small_cnn(width=8, stages=2)"
    assert (classifier.input_size, classifier.channels) == (8, 1)
    with safe_open(str(result / "last.safetensors"), framework="pt") as file:
        note = json.loads(file.metadata()["augury"])
    assert note["settings"] == {"width": 8, "stages": 2, "dropout": 0.2}
    stored = load_file(result / "last.safetensors")
    loaded = classifier.network.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in stored.items())


def rewritten(source: Path, out: Path, note: str | None) -> Path:
    """The same tensors with another note."""
    save_file(load_file(source), out, None if note is None else {"augury": note})
    return out


def changed_note(source: Path, **changes: Any) -> str:
    with safe_open(str(source), framework="pt") as file:
        note = json.loads(file.metadata()["augury"])
    return json.dumps({**note, **changes})


def test_foreign_files_are_refused_in_one_line(result: Path, tmp_path: Path) -> None:
    source, out = result / "last.safetensors", tmp_path / "weights.safetensors"
    notes: dict[str | None, str] = {
        None: "says nothing of its model",
        "{": "note cannot be read",
        "[]": "note cannot be read",
        "{}": "note cannot be read",
        changed_note(source, name="resnet"): "unknown classifier 'resnet'",
        changed_note(source, name="timm", settings={"architecture": "no"}): "has no model 'no'",
        changed_note(
            source, name="timm", settings={"architecture": "resnet50.no"}
        ): r"has no model 'resnet50\.no'",
        changed_note(source, settings={"width": 3}): "note cannot be read",
        changed_note(source, settings={"wide": 3}): "note cannot be read",
        changed_note(source, info={"side": 8}): "note cannot be read",
        changed_note(source, settings={"width": 16}): "does not fit small_cnn",
        changed_note(source, settings={"width": 8, "stages": 3}): "does not fit small_cnn",
    }
    for note, message in notes.items():
        with pytest.raises(InputError, match=message) as error:
            load_weights(rewritten(source, out, note))
        assert "\n" not in str(error.value)


def test_damaged_files_are_refused_in_one_line(result: Path, tmp_path: Path) -> None:
    whole = (result / "last.safetensors").read_bytes()
    path = tmp_path / "weights.safetensors"
    for length in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"^weights\.safetensors: ") as error:
            load_weights(path)
        assert "\n" not in str(error.value)
    for other in (tmp_path, tmp_path / "gone.safetensors"):
        with pytest.raises(InputError, match="cannot be read"):
            load_weights(other)


# timm


@pytest.mark.parametrize("architecture", ["test_resnet.r160_in1k", "test_vit.r160_in1k"])
def test_a_network_of_timm_trains_on_small_grey_images(
    architecture: str, real: Path, test_pack: Path, tmp_path: Path
) -> None:
    model = plugins.plugin("classifiers", "timm", timm.Config(architecture=architecture))
    spec = trial(model=model, steps=2, eval_every=1, input_size=32, warmup_steps=0)
    out = trained(spec, real, tmp_path / "out")
    result = read_result(out)
    assert result["input_size"] == 32
    assert result["model"].startswith(architecture)
    assert result["model"].endswith(", from scratch")
    classifier, _ = load_weights(out / "last.safetensors")
    assert (classifier.input_size, classifier.channels) == (32, 3)
    assert predicted(out, test_pack, tmp_path / "test").selected.shape == (150, 10)


def test_weights_of_timm_are_saved_with_their_normalisation(tmp_path: Path) -> None:
    model = plugins.plugin("classifiers", "timm", timm.Config(architecture="test_vit.r160_in1k"))
    info = ClassifierInfo(num_classes=3, channels=3, side=40, input_size=32)
    made = plugins.build("classifiers", model, info)
    save_weights(tmp_path / "w.safetensors", made, model, info, ("a", "b", "c"))
    loaded, classes = load_weights(tmp_path / "w.safetensors")
    assert classes == ("a", "b", "c")
    assert (loaded.mean, loaded.std) == (made.mean, made.std)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.network.eval()(images), made.network.eval()(images))


def test_colour_images_beside_grey_ones_become_their_luma(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    packs = []
    for name, channels in (("grey", 1), ("colour", 3)):
        pixels = rng.integers(0, 256, (2, 8, 8, channels), dtype=np.uint8)
        examples = [
            Example(pixels=image, label=0, source=str(i), sha256=str(i))
            for i, image in enumerate(pixels)
        ]
        (tmp_path / name).mkdir()
        read_all(write_pack(tmp_path / name, lambda e=examples: e, ["only"], None, 2))  # type: ignore[misc]
        packs.append(Pack(tmp_path / name))
    both = np.arange(2, dtype=np.int64)
    parts = [part(pack, both, ["only"]) for pack in packs]
    images = Images(Source(parts, 8), 1, torch.device("cpu"))
    batch = images.batch(np.arange(4, dtype=np.int64))
    assert batch.shape == (4, 1, 8, 8)
    assert (batch[0, 0].numpy() == packs[0].image(0)[..., 0]).all()
    red, green, blue = (packs[1].image(1)[..., c].astype(float) for c in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert abs(batch[3, 0].numpy() - luma).max() <= 0.5
