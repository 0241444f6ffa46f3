"""A CLIP of a few thousand weights, written as transformers writes one, for tests."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers

untyped: Any = transformers
"""transformers has functions without annotations."""

CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
START, END = "<|startoftext|>", "<|endoftext|>"
SIDE, SIZE = 16, 8


def write_clip(folder: Path, seed: int = 0) -> Path:
    """Write random weights, a tokenizer of single characters and an image processor."""
    folder.mkdir()
    tokens = [*CHARACTERS, *(f"{character}</w>" for character in CHARACTERS), START, END]
    (folder / "vocab.json").write_text(json.dumps({t: number for number, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    tokenizer = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 32, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    untyped.CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ).save_pretrained(folder)
    model(len(tokens), seed).save_pretrained(folder)
    return folder


def model(num_tokens: int, seed: int) -> Any:
    small = {"hidden_size": 16, "intermediate_size": 32, "projection_dim": SIZE}
    small |= {"num_hidden_layers": 2, "num_attention_heads": 2}
    end = num_tokens - 1
    ids = {"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    text = {**small, **ids, "vocab_size": num_tokens, "max_position_embeddings": 32}
    vision = {**small, "image_size": SIDE, "patch_size": 4}
    config = untyped.CLIPConfig(text_config=text, vision_config=vision, projection_dim=SIZE)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return untyped.CLIPModel(config)
