"""Every setting of a recipe does what it says, and none makes a training less repeatable."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from tasks import plugins
from tasks.augmentation import Batch
from tasks.devices import is_out_of_memory, move
from tasks.errors import InputError
from tasks.feeding import misplaced, targets
from tasks.images import Normalise
from tasks.networks.small_cnn import SmallCNN
from tasks.packs import Pack, held_out, read_all, select, select_first
from tasks.predict import predict
from tasks.predictions import load_predictions
from tasks.results import read_result
from tasks.specs import EvaluateSpec, Mixing, Plugin, Stage, SyntheticImages, TrialSpec
from tasks.stepping import Stepper
from tasks.train import train
from tests.tasks.trials import (
    CLASSES,
    RECIPE,
    Memory,
    assert_equal_results,
    history_of,
    packs_of,
    some_digits,
    trained,
    trial,
    write,
)

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("one_thread")


def augmented(*names: str) -> tuple[Plugin, ...]:
    return tuple(plugins.plugin("augmentations", name) for name in names)


def cell(spec: TrialSpec, **changes: Any) -> TrialSpec:
    return replace(spec, cell=replace(spec.cell, **changes))


def with_set(spec: TrialSpec, number: int = 5, **changes: Any) -> TrialSpec:
    return cell(spec, sets=(SyntheticImages(pack="s", counts=(number,) * 10),), **changes)


RECIPES: dict[str, dict[str, Any]] = {
    "ema": {"ema": 0.9},
    "accumulate": {"accumulate": 3},
    "step": {"schedule": "step", "milestones": (4, 8)},
    "clip": {"clip_grad": 0.1},
    "device augmentation": {"augmentations": augmented("base", "mixup")},
    "worker augmentation": {"augmentations": augmented("base", "autoaugment", "random_erasing")},
    "bfloat16": {"precision": "bfloat16"},
    "float16 averaged": {"precision": "float16", "ema": 0.9},
    "compiled": {"compile": True, "accumulate": 3},
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_resumed_training_gives_the_same_bits(name: str, real: Path, tmp_path: Path) -> None:
    spec = trial(**RECIPES[name])
    whole = trained(spec, real, tmp_path / "whole")
    memory = Memory(saves=True)
    (tmp_path / "half").mkdir()
    # Stopped after the second of three evaluations, between two checkpoints' worth of steps.
    work = train(spec, packs_of(spec, real), tmp_path / "half", memory)
    for _ in range(2):
        next(work)
    del work
    assert memory.saved is not None
    assert_equal_results(trained(spec, real, tmp_path / "half", checkpoints=memory), whole)


CHANGES: dict[str, dict[str, Any]] = {
    **RECIPES,
    "he": {"initialisation": "he"},
    "xavier": {"initialisation": "xavier"},
    "dropout": {"dropout": 0.5},
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_setting_changes_the_training(name: str, real: Path, tmp_path: Path) -> None:
    changes = CHANGES[name]
    plain = history_of(trained(trial(), real, tmp_path / "plain"))
    assert history_of(trained(trial(**changes), real, tmp_path / "other")) != plain


def test_two_threads_agree_with_one_to_a_tolerance(real: Path, tmp_path: Path) -> None:
    one = history_of(trained(trial(), real, tmp_path / "one"))
    torch.set_num_threads(2)
    try:
        two = history_of(trained(trial(), real, tmp_path / "two"))
    finally:
        torch.set_num_threads(1)
    for mine, other in zip(one, two, strict=True):
        assert mine["train_loss"] == pytest.approx(other["train_loss"], rel=1e-3)


# One step


def stepper(network: nn.Module, **changes: Any) -> Stepper:
    return Stepper(network, Normalise((0.5,), (0.5,), CPU), replace(RECIPE, **changes), CPU)


def network() -> nn.Module:
    """Without batch norm, whose statistics are those of a micro-batch."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def batch(size: int = 16) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (size, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (size,), generator=generator)
    return Batch(images=images, targets=functional.one_hot(labels, 10).float())


def weights(each: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in each.parameters()])


@pytest.mark.parametrize("accumulate", [2, 3, 16])
def test_micro_batches_add_up_to_the_batch(accumulate: int) -> None:
    nets = network(), network()
    sums = [
        stepper(net, accumulate=parts, warmup_steps=0).step(1, batch())
        for net, parts in zip(nets, (1, accumulate), strict=True)
    ]
    assert torch.allclose(weights(nets[0]), weights(nets[1]), atol=1e-6)
    assert torch.allclose(sums[0], sums[1], rtol=1e-4)


class Small(nn.Module):
    """Holds few images at a time, as a full GPU does."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.inner, self.most = network(), most

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        out: torch.Tensor = self.inner(images)
        return out


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_batch() -> None:
    whole, small = network(), Small(5)
    stepper(whole, warmup_steps=0).step(1, batch())
    halved = stepper(small, warmup_steps=0)
    halved.step(1, batch())
    assert halved.micro_batch == 4
    assert torch.allclose(weights(whole), weights(small.inner), atol=1e-6)


class Statistics(Small):
    """Moves statistics and draws before it finds the memory full."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(functional.dropout(self.norm(images), 0.5, self.training))


def test_what_did_not_fit_leaves_no_trace() -> None:
    nets = Statistics(5), Statistics(100)
    for net, parts in zip(nets, (1, 4), strict=True):
        torch.manual_seed(7)
        stepper(net, warmup_steps=0, accumulate=parts).step(1, batch())
    one, other = (net.state_dict() for net in nets)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_does_not_fit_by_twos_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        stepper(Small(1)).step(0, batch())


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "[enforce fail at alloc_cpu.cpp:116] . DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_full_memory_is_known_by_what_is_said(said: str) -> None:
    assert is_out_of_memory(RuntimeError(said))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_the_micro_batch_is_on_record(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = SmallCNN.forward

    def forward(self: SmallCNN, images: torch.Tensor) -> torch.Tensor:
        if self.training and len(images) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, images)

    monkeypatch.setattr(SmallCNN, "forward", forward)
    assert read_result(trained(trial(), real, tmp_path / "out"))["micro_batch"] == 4


def test_gradients_are_clipped_to_a_norm() -> None:
    free, held = network(), network()
    for net, most in ((free, None), (held, 1e-3)):
        stepper(
            net,
            clip_grad=most,
            optimizer="sgd",
            lr=1.0,
            momentum=0.0,
            weight_decay=0.0,
            warmup_steps=0,
            schedule="constant",
        ).step(0, batch())
    start = weights(network())
    assert (weights(held) - start).norm() == pytest.approx(1e-3, rel=1e-3)
    assert (weights(free) - start).norm() > 0.01


def test_the_step_schedule_drops_after_its_milestones() -> None:
    stepped = stepper(
        network(), schedule="step", milestones=(2, 4), decay=0.5, warmup_steps=0, lr=0.8
    )
    rates = []
    for number in range(6):
        stepped.step(number, batch())
        rates.append(stepped.state()["optimizer"]["param_groups"][0]["lr"])
    assert rates == pytest.approx([0.8, 0.8, 0.4, 0.4, 0.2, 0.2])


@pytest.mark.parametrize(("steps", "warmup"), [(10, 3), (30, 10), (6, 0), (4, 1)])
def test_the_cosine_stands_at_its_peak_behind_the_warmup(steps: int, warmup: int) -> None:
    stepped = stepper(network(), steps=steps, warmup_steps=warmup, lr=0.8)
    rates = []
    for number in range(steps):
        stepped.step(number, batch())
        rates.append(stepped.state()["optimizer"]["param_groups"][0]["lr"])
    assert rates[warmup] == max(rates) == pytest.approx(0.8)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert min(rates) > 0
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    if steps - warmup > 5:
        assert rates[-1] < 0.1


def test_lamb_clips_only_where_that_is_asked_for() -> None:
    group = stepper(network(), optimizer="lamb").state()["optimizer"]["param_groups"][0]
    assert group["max_grad_norm"] is None


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop", "lamb", "lion"])
def test_every_optimizer_goes_downhill(optimizer: str) -> None:
    rate = 0.003 if optimizer in ("rmsprop", "lion") else 0.01
    stepped = stepper(network(), optimizer=optimizer, lr=rate, warmup_steps=0, schedule="constant")
    losses = [float(stepped.step(number, batch())[0]) for number in range(30)]
    assert losses[-1] < 0.8 * losses[0]


# Time


def test_time_before_an_interruption_is_part_of_the_cost(real: Path, tmp_path: Path) -> None:
    memory = Memory(saves=True)
    (tmp_path / "out").mkdir()
    work = train(trial(), packs_of(trial(), real), tmp_path / "out", memory)
    next(work)
    next(work)
    time.sleep(1.0)  # as a slow training would take; the next checkpoint knows of it
    next(work)
    state = memory.load()
    assert state is not None
    assert state["seconds"] > 1.0
    trained(trial(), real, tmp_path / "out", checkpoints=memory)
    assert read_result(tmp_path / "out")["seconds"] > state["seconds"]


# What is kept


def test_averaged_weights_are_those_kept(real: Path, tmp_path: Path) -> None:
    plain, averaged = (
        trained(trial(ema=decay, steps=100), real, tmp_path / str(decay)) for decay in (None, 0.99)
    )
    one, other = (load_file(out / "last.safetensors") for out in (plain, averaged))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    # The first weights were random, and an average that held on to them would not learn.
    assert read_result(averaged)["scores"]["val_top1"] > 0.5


# Targets


def test_targets_hold_smoothing_soft_labels_and_weights() -> None:
    made = targets(4, 2, 0.1, 0.7, 0.5, CPU)
    rows, labels = torch.tensor([0, 1, 2, 3]), torch.tensor([1, 3, 1, 0])
    found = made.of(rows, labels)
    assert found[0].tolist() == pytest.approx([0.025, 0.925, 0.025, 0.025])
    # Synthetic: 0.7 and 0.1 each, smoothed by 0.1, at half the weight.
    assert found[2].tolist() == pytest.approx([0.0575, 0.3275, 0.0575, 0.0575])
    assert found.sum(1).tolist() == pytest.approx([1, 1, 0.5, 0.5])


def test_smoothed_targets_give_torchs_own_loss() -> None:
    logits, labels = torch.randn(8, 10, generator=torch.Generator().manual_seed(0)), torch.arange(8)
    goals = targets(10, 8, 0.2, 1.0, 1.0, CPU).of(torch.arange(8), labels)
    ours = functional.cross_entropy(logits, goals, reduction="sum") / goals.sum()
    theirs = functional.cross_entropy(logits, labels, label_smoothing=0.2)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)


@pytest.mark.parametrize("mixing", [Mixing(loss_weight=0.1), Mixing(soft_label=0.5)])
def test_synthetic_images_may_count_less(mixing: Mixing, real: Path, tmp_path: Path) -> None:
    plain, other = (
        trained(with_set(trial(), mixing=each), real, tmp_path / name, (real,))
        for each, name in ((Mixing(), "plain"), (mixing, "other"))
    )
    assert history_of(plain) != history_of(other)


def test_no_test_image_left_is_one_line(real: Path, tmp_path: Path) -> None:
    from tasks.duplicates import duplicates
    from tasks.specs import DuplicatesSpec

    out = trained(trial(), real, tmp_path / "trial")
    for name in ("found", "out"):
        (tmp_path / name).mkdir()
    read_all(duplicates(DuplicatesSpec(train="p", test="p"), real, real, tmp_path / "found"))
    evaluation = EvaluateSpec(trial="t", test="p", without="d")
    inputs = {"t": out, "p": real, "d": tmp_path / "found"}
    with pytest.raises(InputError, match="every test image also stands in the train split"):
        read_all(predict(evaluation, inputs, tmp_path / "out"))


# Stages, folds, validation of its own


def test_a_stage_of_real_images_is_a_training_on_real_images(real: Path, tmp_path: Path) -> None:
    stages = (
        Stage(steps=4, real=True, synthetic=False),
        Stage(steps=8, real=True, synthetic=True),
    )
    staged = history_of(trained(with_set(trial(), stages=stages), real, tmp_path / "a", (real,)))
    alone = history_of(trained(trial(), real, tmp_path / "b"))
    mixed = history_of(trained(with_set(trial()), real, tmp_path / "c", (real,)))
    assert staged[0] == alone[0] != mixed[0]
    assert staged[1] != alone[1]


def test_each_fold_holds_out_images_that_it_never_sees(real: Path, test_pack: Path) -> None:
    pack, images = Pack(real), trial(training=8, validation=2).cell.images
    tested = []
    for index in range(3):
        fold = replace(images, fold=(index, 3))
        seen = np.concatenate(select(pack, fold))
        out = held_out(pack, fold)
        assert not set(seen) & set(out)
        assert len(set(seen)) == 100
        tested += out.tolist()
    assert sorted(tested) == list(range(len(pack)))


def test_a_fold_is_predicted_alone(real: Path, tmp_path: Path) -> None:
    spec = trial(training=8, validation=2)
    images = replace(spec.cell.images, fold=(1, 3))
    out = trained(cell(spec, images=images), real, tmp_path / "trial")
    (tmp_path / "out").mkdir()
    evaluation = EvaluateSpec(trial="t", test="p", held_out=images, classes=CLASSES)
    read_all(predict(evaluation, {"t": out, "p": real}, tmp_path / "out"))
    stored = load_predictions(tmp_path / "out" / "predictions.npz")
    assert stored.labels.tolist() == Pack(real).labels[held_out(Pack(real), images)].tolist()
    assert len(stored.labels) == 50


def test_validation_images_may_come_from_a_pack_of_their_own(
    real: Path, test_pack: Path, tmp_path: Path
) -> None:
    spec = trial(training=15)
    spec = cell(spec, images=replace(spec.cell.images, validation_pack="v"))
    (tmp_path / "out").mkdir()
    read_all(train(spec, {"p": real, "v": test_pack}, tmp_path / "out", Memory()))
    result = read_result(tmp_path / "out")
    assert (result["num_training"], result["num_validation"]) == (150, 50)
    rows = select_first(Pack(test_pack), (5,) * 10, 0)
    (tmp_path / "p").mkdir()
    read_all(
        predict(
            EvaluateSpec(trial="t", test="v"),
            {"t": tmp_path / "out", "v": test_pack},
            tmp_path / "p",
        )
    )
    stored = load_predictions(tmp_path / "p" / "predictions.npz")
    hits = stored.selected[rows].argmax(1) == stored.labels[rows]
    assert hits.mean() == pytest.approx(result["scores"]["val_top1"])


# Augmentations


def test_the_worker_processes_change_no_batch(real: Path, tmp_path: Path) -> None:
    """What a process prepares is what the training would have made itself."""
    from tasks.augmentation import AugmentationInfo
    from tasks.drawing import Draw
    from tasks.feeding import Feed, Pipeline, pipeline
    from tasks.images import Images, Source, part

    pack = Pack(real)
    rows = np.arange(len(pack), dtype=np.int64)
    source = Source([part(pack, rows, CLASSES)], 8)
    info = AugmentationInfo(side=8, channels=1, num_classes=10, mean=(0.5,), std=(0.5,))
    stage = Stage(steps=9, real=True, synthetic=True)
    draw = Draw(seed=3, batch_size=8, stages=(stage,), num_real=len(pack), labels=source.labels)
    goals = targets(10, len(pack), 0.0, 1.0, 1.0, CPU)
    images = Images(source, 1, CPU)
    chain = pipeline(augmented("base", "trivialaugment", "cutmix"), info, info)
    assert [len(chain.on_worker), len(chain.on_device)] == [2, 1]
    beside = list(Feed(images, draw, chain, goals).batches(2, 6))
    # The same chain with nothing left to a worker.
    places: Callable[[Any], Any] = lambda each: ("either", each)  # noqa: E731
    here = Pipeline(on_device=(*map(places, chain.on_worker), *chain.on_device))
    alone = list(Feed(images, draw, here, goals).batches(2, 6))
    assert len(beside) == 4
    for mine, other in zip(beside, alone, strict=True):
        assert torch.equal(mine.targets, other.targets)
        assert torch.equal(mine.images, other.images)


@pytest.mark.slow
def test_worker_processes_end_with_a_training_that_is_killed(real: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.tasks.test_recipes import augmented;"
        "from tests.tasks.trials import Memory, trial; from tasks.train import train;"
        "spec = trial(steps=10**6, eval_every=1, augmentations=augmented('augmix'));"
        "work = train(spec, {'p': Path(sys.argv[1])}, Path(sys.argv[2]), Memory());"
        "next(work); print('ready', flush=True); list(work)"
    )
    mark = f"AUGURY_TEST={tmp_path}"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(real), str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **dict([mark.split("=")])},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    assert len(_marked(mark)) > 2
    process.kill()
    process.wait()
    process.stdout.close()
    until = time.monotonic() + 20
    while _marked(mark) and time.monotonic() < until:
        time.sleep(0.1)
    assert _marked(mark) == []


def _marked(mark: str) -> list[int]:
    """The processes that have a variable in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def test_an_order_that_cannot_be_kept_is_known() -> None:
    assert misplaced(["base", "autoaugment", "mixup", "random_erasing"]) is None
    assert misplaced(["base", "mixup", "autoaugment"]) == ("mixup", "autoaugment")


@pytest.mark.parametrize("channels", [1, 3])
def test_targets_and_images_are_made_on_the_device(channels: int) -> None:
    """Without a GPU: shapes and places alone, on tensors that hold nothing."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    half = (0.5,) * channels
    with FakeTensorMode():
        there = torch.device("cuda:0")
        rows = torch.arange(4, device=there)
        goals = targets(10, 2, 0.1, 0.9, 0.5, there).of(rows, rows)
        images = torch.zeros(4, channels, 16, 16, dtype=torch.uint8, device=there)
        normalised = Normalise(half, half, there)(images)
        assert goals.device == normalised.device == there
        assert normalised.dtype == torch.float32
        assert normalised.is_contiguous(memory_format=torch.channels_last)


def test_filters_of_any_rank_can_be_moved() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv3d(2, 2, 1), nn.Linear(2, 2))
    move(net, CPU)
    (filters, *_) = net.parameters()
    assert filters.is_contiguous(memory_format=torch.channels_last)


# A second classifier


@pytest.mark.parametrize("features", ["pixels", "embedding"])
def test_a_companion_is_fitted_and_asked(
    features: str, real: Path, test_pack: Path, tmp_path: Path
) -> None:
    cart = plugins.module("companions", "cart").Config(features=features)
    companion = plugins.plugin("companions", "cart", cart)
    spec = cell(trial(steps=60, eval_every=60), companion=companion)
    out = trained(spec, real, tmp_path / "trial")
    (tmp_path / "out").mkdir()
    evaluation = EvaluateSpec(trial="t", test="p", companion=companion)
    read_all(predict(evaluation, {"t": out, "p": test_pack}, tmp_path / "out"))
    stored = load_predictions(tmp_path / "out" / "predictions.npz")
    assert stored.companion is not None
    hits = stored.companion.argmax(1) == stored.labels
    assert 0.3 < hits.mean() < 1
    assert not np.array_equal(stored.companion.argmax(1), stored.selected.argmax(1))


# Sizes and channels


def test_mean_and_std_of_the_study_reach_the_weights_file(real: Path, tmp_path: Path) -> None:
    from tasks.classification import load_weights

    out = trained(trial(mean=(0.3,), std=(0.2,)), real, tmp_path / "out")
    classifier, _ = load_weights(out / "last.safetensors")
    assert (classifier.mean, classifier.std) == ((0.3,), (0.2,))


def test_normalisation_of_colours_for_grey_images_is_refused(real: Path, tmp_path: Path) -> None:
    three = (0.3, 0.4, 0.5)
    with pytest.raises(InputError):
        trained(trial(mean=three, std=three), real, tmp_path / "out")


def test_images_of_another_side_are_resized_once_for_all(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUGURY_CACHE", str(tmp_path / "cache"))
    trained(trial(input_size=16), real, tmp_path / "a")
    (view,) = (tmp_path / "cache" / "views").glob("*.bin")
    assert view.stat().st_size == len(Pack(real)) * 16 * 16
    before = view.stat().st_ino
    trained(trial(input_size=16), real, tmp_path / "b")
    assert view.stat().st_ino == before
    assert_equal_results(tmp_path / "a", tmp_path / "b")
    # Where the cache cannot be written, memory will do, with the same pixels.
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUGURY_CACHE", str(tmp_path / "file"))
    trained(trial(input_size=16), real, tmp_path / "c")
    assert_equal_results(tmp_path / "a", tmp_path / "c")


def test_a_view_is_of_what_a_pack_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import views

    monkeypatch.setenv("AUGURY_CACHE", str(tmp_path / "cache"))
    one, other = (Pack(write(tmp_path / split, some_digits(split))) for split in ("train", "test"))
    first = views.view(one, 16).copy()
    one.path.rename(tmp_path / "gone")
    other.path.rename(one.path)
    assert not np.array_equal(views.view(Pack(one.path), 16), first)


def test_old_views_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import views

    monkeypatch.setenv("AUGURY_CACHE", str(tmp_path / "cache"))
    examples = some_digits("train")
    packs = [Pack(write(tmp_path / str(i), examples[10 * i : 10 * i + 10])) for i in range(3)]
    size = len(packs[0]) * 16 * 16
    monkeypatch.setattr(views, "MOST_BYTES", 2 * size)
    mapped = [views.view(pack, 16) for pack in packs]
    assert len(list((tmp_path / "cache" / "views").glob("*.bin"))) == 2
    # Who has one mapped keeps it.
    everything = np.arange(10, dtype=np.int64)
    for pack, pixels in zip(packs, mapped, strict=True):
        assert np.array_equal(pixels, pack.array(everything, 16))
