"""Writes the weights of a tiny pipeline into one file, under the names that authors published.

The other way round than diffusers' `convert_ldm_*`: Stable Diffusion as CompVis/stable-diffusion
has it, SDXL as Stability-AI/generative-models.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Weights = dict[str, Tensor]

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
MIDDLE = {
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
TEXT = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def write_sd(pipeline: Path, file: Path) -> Path:
    """Write U-Net, autoencoder and text encoder of Stable Diffusion."""
    text = _text(pipeline, "text_encoder")
    return _save(
        {
            **_prefixed(_unet(_weights(pipeline, "unet")), "model.diffusion_model."),
            **_prefixed(_vae(_weights(pipeline, "vae")), "first_stage_model."),
            **_prefixed(text, "cond_stage_model.transformer.text_model."),
        },
        file,
    )


def write_sdxl(pipeline: Path, file: Path) -> Path:
    """Write U-Net, autoencoder and both text encoders of SDXL."""
    first = _text(pipeline, "text_encoder")
    return _save(
        {
            **_prefixed(_unet(_weights(pipeline, "unet")), "model.diffusion_model."),
            **_prefixed(_vae(_weights(pipeline, "vae")), "first_stage_model."),
            **_prefixed(first, "conditioner.embedders.0.transformer.text_model."),
            **_prefixed(_open_clip(pipeline, "text_encoder_2"), "conditioner.embedders.1.model."),
        },
        file,
    )


def write_flux(pipeline: Path, file: Path) -> Path:
    """Write the transformer alone, as published files hold it, under diffusers' names."""
    return _save(_weights(pipeline, "transformer"), file)


def _save(weights: Weights, file: Path) -> Path:
    """Write safetensors, or what torch.save writes with its usual wrapper."""
    whole = {name: tensor.contiguous() for name, tensor in weights.items()}
    if file.suffix == ".safetensors":
        save_file(whole, file)
    else:
        torch.save({"state_dict": whole, "global_step": 7}, file)
    return file


def _weights(pipeline: Path, part: str) -> Weights:
    found = load_file(next((pipeline / part).glob("*.safetensors")))
    return dict(found)


def _prefixed(weights: Weights, prefix: str) -> Weights:
    return {prefix + name: tensor for name, tensor in weights.items()}


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for ours, theirs in names.items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    return name


def _unet(weights: Weights) -> Weights:
    """Blocks are counted through, whatever resolution they work at."""
    places = {**dict(_unet_places(weights)), **MIDDLE}
    found = {}
    for name, tensor in weights.items():
        begin = next((b for b in places if name.startswith(f"{b}.")), None)
        if begin is None:
            found[_renamed(name, ENDS)] = tensor
            continue
        inner = name.removeprefix(f"{begin}.")
        inner = _renamed(inner, RESNET) if ".resnets." in begin else inner
        found[f"{places[begin]}.{inner}"] = tensor
    return found


def _unet_places(weights: Weights) -> Iterator[tuple[str, str]]:
    """The parts of the U-Net's way down and up, and where they stand in one count of all."""

    def num(pattern: str) -> int:
        found = {int(m[1]) for name in weights if (m := re.match(pattern, name))}
        return max(found, default=-1) + 1

    count = 1
    for block in range(num(r"down_blocks\.(\d+)\.")):
        inner = f"down_blocks.{block}"
        for layer in range(num(rf"down_blocks\.{block}\.resnets\.(\d+)\.")):
            yield f"{inner}.resnets.{layer}", f"input_blocks.{count}.0"
            yield f"{inner}.attentions.{layer}", f"input_blocks.{count}.1"
            count += 1
        if any(name.startswith(f"{inner}.downsamplers.") for name in weights):
            yield f"{inner}.downsamplers.0.conv", f"input_blocks.{count}.0.op"
            count += 1
    count = 0
    for block in range(num(r"up_blocks\.(\d+)\.")):
        inner = f"up_blocks.{block}"
        attends = any(name.startswith(f"{inner}.attentions.") for name in weights)
        for layer in range(num(rf"up_blocks\.{block}\.resnets\.(\d+)\.")):
            yield f"{inner}.resnets.{layer}", f"output_blocks.{count}.0"
            yield f"{inner}.attentions.{layer}", f"output_blocks.{count}.1"
            count += 1
        last = f"output_blocks.{count - 1}.{2 if attends else 1}.conv"
        yield f"{inner}.upsamplers.0.conv", last


def _vae(weights: Weights) -> Weights:
    levels = 1 + max(
        int(m[1]) for n in weights if (m := re.match(r"encoder\.down_blocks\.(\d+)", n))
    )
    found = {}
    for name, tensor in weights.items():
        theirs = re.sub(
            r"decoder\.up_blocks\.(\d+)", lambda m: f"decoder.up.{levels - 1 - int(m[1])}", name
        )
        theirs = theirs.replace("encoder.down_blocks", "encoder.down")
        theirs = theirs.replace("mid_block.attentions.0", "mid.attn_1")
        theirs = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", theirs)
        theirs = theirs.replace(".resnets.", ".block.").replace("downsamplers.0", "downsample")
        theirs = theirs.replace("upsamplers.0", "upsample").replace("conv_norm_out", "norm_out")
        theirs = theirs.replace("conv_shortcut", "nin_shortcut")
        if ".attn_1." in theirs:
            begin, _, inner = theirs.partition(".attn_1.")
            theirs = f"{begin}.attn_1.{_renamed(inner, ATTENTION)}"
            # They are convolutions of one pixel there.
            tensor = tensor[:, :, None, None] if tensor.dim() == 2 else tensor
        found[theirs] = tensor
    return found


def _text(pipeline: Path, part: str) -> Weights:
    """transformers puts `text_model.` before them or not, by its release."""
    return {n.removeprefix("text_model."): t for n, t in _weights(pipeline, part).items()}


def _open_clip(pipeline: Path, part: str) -> Weights:
    """As OpenCLIP has it: queries, keys and values in one."""
    given = _text(pipeline, part)
    found = {
        "token_embedding.weight": given.pop("embeddings.token_embedding.weight"),
        "positional_embedding": given.pop("embeddings.position_embedding.weight"),
        "ln_final.weight": given.pop("final_layer_norm.weight"),
        "ln_final.bias": given.pop("final_layer_norm.bias"),
        "text_projection": given.pop("text_projection.weight").T,
    }
    for name in sorted(given):
        match = re.match(r"encoder\.layers\.(\d+)\.(.*)", name)
        assert match, name
        block, inner = f"transformer.resblocks.{match[1]}", match[2]
        if "_proj." in inner and "out_proj" not in inner:
            kind = inner.rpartition(".")[2]
            three = [given[f"encoder.layers.{match[1]}.self_attn.{q}_proj.{kind}"] for q in "qkv"]
            found[f"{block}.attn.in_proj_{kind}"] = torch.cat(three)
        else:
            found[f"{block}.{_renamed(inner, TEXT)}"] = given[name]
    return found
