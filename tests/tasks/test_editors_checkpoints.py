"""Checkpoints of editors: single files, what is missing, what is another's, and what is a trap."""

import json
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks import plugins
from tasks.editing import Editor, Given
from tasks.editors import _folders
from tasks.editors._families import TAKEN_BY
from tasks.errors import InputError
from tests.tasks import tiny_pipelines
from tests.tasks.test_editors import edit_of, opened, pixels, settings
from tests.tasks.tiny_single_files import write_flux, write_sd, write_sdxl

pytestmark = pytest.mark.usefixtures("one_thread")

Writer = Callable[[Path, Path], Path]
SINGLE: dict[str, Writer] = {
    "img2img": write_sd,
    "instruct_pix2pix": write_sd,
    "img2img of SDXL": write_sdxl,
    "sdxl_inpaint": write_sdxl,
    "flux_fill": write_flux,
    "flux_kontext": write_flux,
}
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pipelines")
    cases = [*SINGLE, "qwen_image_edit", "kandinsky_inpaint"]
    return {case: tiny_pipelines.write(case, folder / case) for case in cases}


@pytest.fixture
def broken(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of Stable Diffusion, to take parts away from."""
    return Path(shutil.copytree(checkpoints["img2img"], tmp_path / "mine"))


def described(pipeline: Path, folder: Path, *without: str) -> Path:
    """What describes a pipeline, without the weights of some parts."""
    shutil.copytree(pipeline, folder)
    for part in without:
        for weights in (folder / part).glob("*.safetensors"):
            weights.unlink()
    return folder


def refusal(name: str, checkpoint: Path | str, **said: Any) -> str:
    with pytest.raises(InputError) as caught:
        opened(name, Path(checkpoint), **said)
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert "\n" not in message
    return message


# Single files


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("case", SINGLE)
def test_a_single_file_is_its_pipeline(
    case: str, suffix: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """None of the weights that the file holds are where it is described."""
    name = case.partition(" of ")[0]
    file = SINGLE[case](checkpoints[case], tmp_path / f"model{suffix}")
    held = {"flux": ("transformer",)}.get(
        name.partition("_")[0], ("unet", "vae", "text_encoder", "text_encoder_2")
    )
    config = described(checkpoints[case], tmp_path / "described", *held)
    editor = opened(name, file, config=str(config))
    whole = opened(name, checkpoints[case])
    edit = edit_of(0)
    assert (pixels(list(editor.edit([edit])))[0] == pixels(list(whole.edit([edit])))[0]).all()
    file_id, _, config_id = editor.stamp["weights"].partition(", described by ")
    assert file_id == _folders.content_id(file)
    assert config_id == _folders.described_id(config)
    said = settings(name, checkpoint=str(file), config=str(config))
    module = plugins.module("editors", name)
    named = module.identify(said, lambda path, what, compute: compute(path))
    assert (named.checkpoint, named.config) == (file_id, config_id)
    again: Editor = module.build(named, Given())
    assert again.stamp == editor.stamp
    (config / "model_index.json").write_text((config / "model_index.json").read_text() + " ")
    with pytest.raises(InputError, match=r"config: .* is not what it was when it was planned"):
        module.build(named, Given())


@pytest.mark.parametrize("name", ["qwen_image_edit", "kandinsky_inpaint"])
def test_who_takes_no_single_file_says_so(
    name: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    file = write_sd(checkpoints["img2img"], tmp_path / "model.safetensors")
    expected = "model.safetensors is a single file: say a pipeline folder or a name on the hub"
    assert refusal(name, file) == f"{name}: {expected}"


def test_a_file_of_another_model_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    sdxl = write_sdxl(checkpoints["sdxl_inpaint"], tmp_path / "xl.safetensors")
    flux = write_flux(checkpoints["flux_fill"], tmp_path / "flux.safetensors")
    config = str(checkpoints["img2img"])
    said = refusal("instruct_pix2pix", sdxl, config=config)
    assert said == (
        "instruct_pix2pix: xl.safetensors holds SDXL, not SD: img2img or sdxl_inpaint takes it"
    )
    assert "holds FLUX, not SD or SDXL" in refusal("img2img", flux, config=config)
    lone = checkpoints["img2img"] / UNET
    assert "holds nothing that diffusers loads from one" in refusal("img2img", lone, config=config)


def test_a_file_that_lacks_weights_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """diffusers would make them up."""
    config = described(checkpoints["img2img"], tmp_path / "told", "unet", "vae", "text_encoder")
    file = write_sd(checkpoints["img2img"], tmp_path / "model.safetensors")
    whole = load_file(file)
    for part, lacking in (
        ("unet", "model.diffusion_model.out.2.weight"),
        ("vae", "first_stage_model.decoder.conv_out.weight"),
        ("text_encoder", "cond_stage_model.transformer.text_model.final_layer_norm.weight"),
    ):
        save_file({n: t for n, t in whole.items() if n != lacking}, file)
        said = refusal("img2img", file, config=str(config))
        assert f"model.safetensors lacks weights of {part}: " in said or "cannot be loaded" in said
    save_file({n: t for n, t in whole.items() if "first_stage" not in n}, file)
    assert "holds no weights of vae, and config: told: vae/" in refusal(
        "img2img", file, config=str(config)
    )


def test_a_file_whose_description_is_not_there(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    file = write_sd(checkpoints["img2img"], tmp_path / "model.safetensors")
    assert "say config: <a local pipeline folder of its kind>" in refusal("img2img", file)
    (tmp_path / "empty").mkdir()
    said = refusal("img2img", file, config=str(tmp_path / "empty"))
    assert said == "img2img: config: empty holds no model_index.json"
    assert "config: there is no file or folder" in refusal("img2img", file, config="./nowhere")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self._sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self._sprung, "sprung")


@pytest.mark.parametrize("name", ["img2img", "sdxl_inpaint", "flux_fill"])
@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".safetensors"])
def test_a_pickle_with_code_is_refused_and_not_run(
    name: str, suffix: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    sprung = tmp_path / "sprung"
    trap = {"state_dict": {"cond_stage_model.x": torch.zeros(2)}, "hook": Trap(sprung)}
    saved, plain = tmp_path / f"saved{suffix}", tmp_path / f"plain{suffix}"
    torch.save(trap, saved)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain.write_bytes(pickle.dumps(trap))
    for file in (saved, plain):
        said = refusal(name, file, config=str(checkpoints["img2img"]))
        assert "never run" in said or "not a readable safetensors" in said
    assert not sprung.exists()
    # The trap works.
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()


def test_damaged_and_compressed_files_are_refused(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    config = str(checkpoints["img2img"])
    file = write_sd(checkpoints["img2img"], tmp_path / "model.ckpt")
    packed = tmp_path / "packed.ckpt"
    with zipfile.ZipFile(file) as given, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for item in given.namelist():
            out.writestr(item, given.read(item))
    assert "is compressed, which torch.save never does" in refusal("img2img", packed, config=config)
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(file.read_bytes()[:5000])
    assert "cannot be read as plain tensors" in refusal("img2img", cut, config=config)
    short = tmp_path / "short.safetensors"
    whole = write_sd(checkpoints["img2img"], tmp_path / "whole.safetensors")
    short.write_bytes(whole.read_bytes()[:-100])
    assert "not a readable safetensors file" in refusal("img2img", short, config=config)


# Folders


def test_what_a_folder_lacks_is_named(broken: Path) -> None:
    (broken / "vae/config.json").unlink()
    assert refusal("img2img", broken) == (
        "img2img: mine: vae/ holds no config.json (AutoencoderKL)"
    )
    shutil.rmtree(broken / "vae")
    assert refusal("img2img", broken) == "img2img: mine: the folder vae/ is missing (AutoencoderKL)"


def test_missing_weights_are_named(broken: Path) -> None:
    (broken / UNET).rename(broken / "unet/diffusion_pytorch_model.fp16.safetensors")
    assert refusal("img2img", broken) == (
        f"img2img: mine: {UNET} is missing (there is diffusion_pytorch_model.fp16.safetensors: "
        "set variant, or fetch the rest)"
    )
    editor = opened("img2img", broken, variant="fp16")
    assert pixels(list(editor.edit([edit_of(0)])))[0].any()
    shutil.move(broken / "unet/diffusion_pytorch_model.fp16.safetensors", broken / "x.bin")
    assert refusal("img2img", broken) == f"img2img: mine: {UNET} is missing"
    shutil.move(broken / "x.bin", broken / "unet/diffusion_pytorch_model.bin")
    assert "unet/ holds pickled weights alone" in refusal("img2img", broken)


def test_a_missing_shard_is_named(broken: Path) -> None:
    weights = load_file(broken / UNET)
    (broken / UNET).unlink()
    stem = "diffusion_pytorch_model"
    names = [f"{stem}-{number:05d}-of-00002.safetensors" for number in (1, 2)]
    where = {name: names[number % 2] for number, name in enumerate(sorted(weights))}
    for name in names:
        of_it = {n: weights[n] for n in weights if where[n] == name}
        save_file(of_it, broken / "unet" / name, {"format": "pt"})
    index = broken / f"unet/{stem}.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    assert opened("img2img", broken).stamp["weights"].startswith("sha256:")
    (broken / "unet" / names[1]).unlink()
    assert refusal("img2img", broken) == (
        f"img2img: mine: unet/{names[1]} is missing, one of 2 files that {index.name} names"
    )
    index.write_text("{")
    assert f"unet/{index.name} cannot be read as JSON" in refusal("img2img", broken)


@pytest.mark.parametrize(
    ("part", "lacking"),
    [("unet", "conv_out.weight"), ("vae", "decoder.conv_out.bias"), ("text_encoder", "")],
)
def test_weights_that_a_file_lacks_are_not_made_up(part: str, lacking: str, broken: Path) -> None:
    (file,) = (broken / part).glob("*.safetensors")
    weights = load_file(file)
    lacking = lacking or next(name for name in sorted(weights) if "final_layer_norm" in name)
    save_file({n: t for n, t in weights.items() if n != lacking}, file, {"format": "pt"})
    said = refusal("img2img", broken)
    assert f"the weights of {part} do" in said or f"weights of {part}" in said
    assert "is missing" in said
    file.write_bytes(file.read_bytes()[:-64])
    assert "mine cannot be loaded" in refusal("img2img", broken)


def test_an_index_that_is_missing_damaged_or_names_too_little(broken: Path) -> None:
    index = broken / "model_index.json"
    values = json.loads(index.read_text())
    index.write_text(json.dumps({n: v for n, v in values.items() if n != "unet"}))
    assert refusal("img2img", broken) == "img2img: mine: model_index.json names no unet"
    index.write_text("no JSON")
    assert refusal("img2img", broken) == "img2img: mine: model_index.json cannot be read as JSON"
    index.unlink()
    assert refusal("img2img", broken) == (
        "img2img: mine: model_index.json is missing: it is no pipeline as diffusers saves one"
    )


def test_code_in_a_folder_is_refused_and_not_run(broken: Path) -> None:
    file = write_sd(broken, broken.parent / "model.safetensors")
    index = broken / "model_index.json"
    values = json.loads(index.read_text())
    sprung = broken / "sprung"
    (broken / "unet/trap.py").write_text(f"open({str(sprung)!r}, 'w')")
    index.write_text(json.dumps({**values, "unet": ["trap", "UNet2DConditionModel"]}))
    expected = "unet is trap.UNet2DConditionModel, not of diffusers"
    assert expected in refusal("img2img", broken)
    assert expected in refusal("img2img", file, config=str(broken))
    index.write_text(json.dumps({**values, "_class_name": ["pipeline", "Mine"]}))
    assert "names no pipeline of diffusers' own" in refusal("img2img", broken)
    index.write_text(json.dumps(values))
    description = broken / "text_encoder/config.json"
    told = json.loads(description.read_text())
    description.write_text(json.dumps({**told, "_attn_implementation": "nobody/kernel"}))
    assert "asks for code from the hub" in refusal("img2img", broken)
    assert not sprung.exists()


def test_another_editors_pipeline_is_refused(checkpoints: dict[str, Path], broken: Path) -> None:
    for case, name in (("flux_fill", "img2img"), ("img2img", "sdxl_inpaint")):
        taker = case.partition(" of ")[0]
        assert f": editor {taker} takes it" in refusal(name, checkpoints[case])
    index = broken / "model_index.json"
    values = json.loads(index.read_text())
    index.write_text(json.dumps({**values, "_class_name": "StableVideoDiffusionPipeline"}))
    assert "mine is a StableVideoDiffusionPipeline: give one of" in refusal("img2img", broken)


def test_editors_and_the_pipelines_they_take_agree() -> None:
    import diffusers

    for pipeline, name in TAKEN_BY.items():
        family = plugins.module("editors", name).FAMILY
        assert family.editor == name
        assert pipeline in family.pipelines
        assert hasattr(diffusers, family.pipelines[pipeline])


# Names


@pytest.mark.parametrize(
    "named", ["./nowhere", "/no/such/folder", "a/b/c", "model.safetensors", "nobody", "~/none"]
)
def test_what_is_neither_local_nor_a_name_is_refused(named: str) -> None:
    with pytest.raises(InputError, match="checkpoint: there is no file or folder"):
        plugins.module("editors", "img2img").build(settings("img2img", checkpoint=named), Given())


def test_a_name_that_cannot_be_had_says_how_to_give_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for name in ("img2img", "kandinsky_inpaint", "qwen_image_edit"):
        said = settings(name, checkpoint="nobody/no-such-pipeline-of-augury")
        module = plugins.module("editors", name)
        assert module.identify(said, lambda path, what, compute: "") == said
        with pytest.raises(InputError, match="or say checkpoint: <a local pipeline folder>") as e:
            module.build(said, Given())
        assert "no-such-pipeline-of-augury@main cannot be had" in str(e.value)


def test_a_name_is_found_in_the_cache_without_a_network(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The cache is laid out as huggingface_hub lays it out."""
    import huggingface_hub

    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "models--somebody--tiny"
    shutil.copytree(checkpoints["img2img"], place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs/main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    module = plugins.module("editors", "img2img")
    editor = module.build(settings("img2img", checkpoint="somebody/tiny"), Given())
    assert editor.stamp["weights"] == "somebody/tiny@main"
    whole = opened("img2img", checkpoints["img2img"])
    edit = edit_of(0)
    assert (pixels(list(editor.edit([edit])))[0] == pixels(list(whole.edit([edit])))[0]).all()


def test_a_folder_that_changed_since_planning_is_refused(broken: Path) -> None:
    module = plugins.module("editors", "img2img")
    named = module.identify(
        settings("img2img", checkpoint=str(broken)), lambda path, what, compute: compute(path)
    )
    (broken / "scheduler/scheduler_config.json").write_text("{}")
    with pytest.raises(InputError, match="is not what it was when it was planned"):
        module.build(named, Given())


def test_content_does_not_hang_on_the_place_or_on_what_is_not_read(broken: Path) -> None:
    before = _folders.content_id(broken)
    (broken / "README.md").write_text("Hello.")
    (broken / "unet/diffusion_pytorch_model.bin").write_text("older")
    moved = broken.rename(broken.with_name("moved"))
    assert _folders.content_id(moved) == before
