"""Pipelines of diffusers of a few thousand random weights, written to disk as diffusers does.

The parts are those of diffusers' own tests, smaller; tokenizers know single characters.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from tasks.editors._loading import quiet

untyped: Any = diffusers
parts: Any = transformers
"""Both have classes without annotations."""

CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
START, END = "<|startoftext|>", "<|endoftext|>"
CONTEXT = 77
"""Tokens of a prompt, which some pipelines take for granted."""
GROUPS = 4


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random weights of their own, whatever came before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


# Texts


def clip_tokenizer(folder: Path) -> Any:
    """Of single characters; its files are left in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = [*CHARACTERS, *(f"{character}</w>" for character in CHARACTERS), START, END]
    (folder / "vocab.json").write_text(json.dumps({t: number for number, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    told = {"tokenizer_class": "CLIPTokenizer", "model_max_length": CONTEXT, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return parts.CLIPTokenizer.from_pretrained(str(folder))


def clip_text_settings(width: int) -> Any:
    end = 2 * len(CHARACTERS) + 1
    return parts.CLIPTextConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=end + 1,
        max_position_embeddings=CONTEXT,
        bos_token_id=end - 1,
        eos_token_id=end,
        pad_token_id=end,
    )


def t5_tokenizer() -> Any:
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -2.0), ("▁", -2.0)]
    vocab += [(character, -3.0) for character in CHARACTERS]
    return parts.T5Tokenizer(vocab=vocab, extra_ids=0)


def t5_encoder(width: int) -> Any:
    settings = parts.T5Config(
        vocab_size=len(t5_tokenizer()),
        d_model=width,
        d_kv=8,
        d_ff=width,
        num_layers=1,
        num_heads=2,
    )
    return parts.T5EncoderModel(settings)


# Images


def vae(**changes: Any) -> Any:
    """Halves images once, as tiny ones want it."""
    settings: dict[str, Any] = {
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": (8, 8),
        "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D"),
        "up_block_types": ("UpDecoderBlock2D", "UpDecoderBlock2D"),
        "latent_channels": 4,
        "norm_num_groups": GROUPS,
        "sample_size": 32,
        **changes,
    }
    return untyped.AutoencoderKL(**settings)


def unet(in_channels: int, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "sample_size": 16,
        "in_channels": in_channels,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "norm_num_groups": GROUPS,
        **changes,
    }
    return untyped.UNet2DConditionModel(**settings)


def noise_schedule(kind: str, **changes: Any) -> Any:
    """Of Stable Diffusion."""
    return getattr(untyped, kind)(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, **changes
    )


def safety_checker(flags: bool) -> tuple[Any, Any]:
    """Of random weights; it flags every image, or none."""
    from diffusers.pipelines.stable_diffusion import safety_checker

    checker: Any = safety_checker
    vision = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 32, "patch_size": 8, "projection_dim": 8}
    settings = parts.CLIPConfig(vision_config=vision, projection_dim=8)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    made = checker.StableDiffusionSafetyChecker(settings)
    # What the cosine to a concept must exceed.
    for name in ("concept_embeds_weights", "special_care_embeds_weights"):
        getattr(made, name).data.fill_(-2.0 if flags else 2.0)
    return made, parts.CLIPImageProcessor(**sizes)


# Pipelines


def stable_diffusion(
    folder: Path, kind: str, in_channels: int = 4, flags: bool | None = None
) -> Path:
    """InstructPix2Pix has eight input channels; `flags` gives it a safety checker."""
    checker, extractor = (None, None) if flags is None else safety_checker(flags)
    pipeline = getattr(untyped, kind)(
        vae=vae(),
        text_encoder=parts.CLIPTextModel(clip_text_settings(16)),
        tokenizer=clip_tokenizer(folder / "tokenizer"),
        unet=unet(in_channels),
        scheduler=noise_schedule("EulerAncestralDiscreteScheduler"),
        safety_checker=checker,
        feature_extractor=extractor,
        requires_safety_checker=False,
    )
    return _saved(pipeline, folder)


def sdxl(folder: Path, kind: str, in_channels: int = 4) -> Path:
    """Networks fitted for inpainting have nine input channels."""
    pipeline = getattr(untyped, kind)(
        vae=vae(),
        text_encoder=parts.CLIPTextModel(clip_text_settings(16)),
        text_encoder_2=parts.CLIPTextModelWithProjection(clip_text_settings(24)),
        tokenizer=clip_tokenizer(folder / "tokenizer"),
        tokenizer_2=clip_tokenizer(folder / "tokenizer_2"),
        unet=unet(
            in_channels,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 24,
            cross_attention_dim=16 + 24,
        ),
        scheduler=noise_schedule("EulerDiscreteScheduler", timestep_spacing="leading"),
    )
    return _saved(pipeline, folder)


def kandinsky_parts(folder: Path) -> dict[str, Any]:
    """Of decoder and prior, as the combined pipeline names them."""
    width = 16
    vision = parts.CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    decoder = untyped.UNet2DConditionModel(
        sample_size=16,
        in_channels=9,
        # Of the noise, and of its variance.
        out_channels=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        addition_embed_type="image",
        encoder_hid_dim=width,
        encoder_hid_dim_type="image_proj",
        cross_attention_dim=width,
        attention_head_dim=4,
        norm_num_groups=GROUPS,
        resnet_time_scale_shift="scale_shift",
    )
    movq = untyped.VQModel(
        # Its norms have 32 groups whatever is asked.
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=GROUPS,
        norm_type="spatial",
        num_vq_embeddings=12,
        vq_embed_dim=4,
    )
    prior = untyped.PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=8,
        embedding_dim=width,
        num_layers=1,
        num_embeddings=CONTEXT,
    )
    # The prior clips what it makes with these, which are ones and zeros until it is fitted.
    prior.clip_std.data.fill_(1.0)
    sizes = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
    return {
        "unet": decoder,
        "scheduler": untyped.DDPMScheduler(
            beta_schedule="linear",
            beta_start=0.00085,
            beta_end=0.012,
            variance_type="learned_range",
        ),
        "movq": movq,
        "prior_prior": prior,
        "prior_image_encoder": parts.CLIPVisionModelWithProjection(vision),
        "prior_text_encoder": parts.CLIPTextModelWithProjection(clip_text_settings(width)),
        "prior_tokenizer": clip_tokenizer(folder / "tokenizer"),
        "prior_scheduler": untyped.UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=10.0
        ),
        "prior_image_processor": parts.CLIPImageProcessor(**sizes),
    }


def kandinsky(folder: Path) -> tuple[Path, Path, Path]:
    """Write the decoder, the prior, and both in one."""
    made = kandinsky_parts(folder)
    of_prior = {
        n.removeprefix("prior_"): part for n, part in made.items() if n.startswith("prior_")
    }
    of_decoder = {name: part for name, part in made.items() if not name.startswith("prior_")}
    return (
        _saved(untyped.KandinskyV22InpaintPipeline(**of_decoder), folder / "decoder"),
        _saved(untyped.KandinskyV22PriorPipeline(**of_prior), folder / "prior"),
        _saved(untyped.KandinskyV22InpaintCombinedPipeline(**made), folder / "combined"),
    )


def flux(folder: Path, kind: str, in_channels: int) -> Path:
    """Fill has, beside latents, the masked image's and the mask as input channels."""
    width = 32
    pipeline = getattr(untyped, kind)(
        scheduler=untyped.FlowMatchEulerDiscreteScheduler(),
        vae=vae(
            latent_channels=2,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.0609,
            scaling_factor=1.5,
        ),
        text_encoder=parts.CLIPTextModel(clip_text_settings(width)),
        tokenizer=clip_tokenizer(folder / "tokenizer"),
        text_encoder_2=t5_encoder(width),
        tokenizer_2=t5_tokenizer(),
        transformer=untyped.FluxTransformer2DModel(
            patch_size=1,
            in_channels=in_channels,
            out_channels=8,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=width,
            pooled_projection_dim=width,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
    )
    return _saved(pipeline, folder)


def qwen(folder: Path, kind: str) -> Path:
    """Its autoencoder halves five times, as the pipeline shows it a megapixel of any image."""
    width, halvings = 16, 5
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = qwen_tokenizer()
    marks = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in QWEN_MARKS}
    vision = {"depth": 1, "hidden_size": width, "intermediate_size": width, "num_heads": 2}
    text = {"hidden_size": width, "intermediate_size": width, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": len(tokenizer)}
    rope = {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1000000.0}
    encoder = parts.Qwen2_5_VLForConditionalGeneration(
        parts.Qwen2_5_VLConfig(
            text_config={**text, "rope_parameters": rope, "rope_scaling": rope},
            vision_config={**vision, "out_hidden_size": width, "fullatt_block_indexes": [0]},
            image_token_id=marks["image_pad"],
            video_token_id=marks["video_pad"],
            vision_start_token_id=marks["vision_start"],
            vision_end_token_id=marks["vision_end"],
        )
    )
    few = {"min_pixels": 28 * 28, "max_pixels": 4 * 28 * 28}
    processor = parts.Qwen2VLProcessor(
        image_processor=parts.Qwen2VLImageProcessor(**few),
        tokenizer=tokenizer,
        video_processor=parts.Qwen2VLVideoProcessor(**few),
        chat_template=None,
    )
    pipeline = getattr(untyped, kind)(
        scheduler=untyped.FlowMatchEulerDiscreteScheduler(),
        vae=untyped.AutoencoderKLQwenImage(
            base_dim=2,
            z_dim=4,
            dim_mult=[1] * (halvings + 1),
            num_res_blocks=0,
            temperal_downsample=[False] * (halvings - 1) + [True],
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        ),
        text_encoder=encoder,
        tokenizer=tokenizer,
        processor=processor,
        transformer=untyped.QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=width,
            guidance_embeds=False,
            axes_dims_rope=(8, 4, 4),
        ),
    )
    # So that prompt and image are seen in what is made, through so many small layers.
    for part in (pipeline.vae, pipeline.transformer, pipeline.text_encoder):
        for weight in part.parameters():
            weight.data *= 3
    return _saved(pipeline, folder)


QWEN_MARKS = ("im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad")


def qwen_tokenizer() -> Any:
    """Of single bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    vocab = {character: number for number, character in enumerate(alphabet)}
    vocab[END] = len(vocab)
    tokenizer = parts.Qwen2Tokenizer(vocab=vocab, merges=[])
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [f"<|{name}|>" for name in QWEN_MARKS]}
    )
    return tokenizer


def _saved(pipeline: Any, folder: Path) -> Path:
    pipeline.save_pretrained(str(folder), safe_serialization=True)
    return folder


WRITERS: Mapping[str, Callable[[Path], Path]] = {
    "instruct_pix2pix": lambda folder: stable_diffusion(
        folder, "StableDiffusionInstructPix2PixPipeline", 8
    ),
    "img2img": lambda folder: stable_diffusion(folder, "StableDiffusionPipeline"),
    "img2img of SDXL": lambda folder: sdxl(folder, "StableDiffusionXLPipeline"),
    "sdxl_inpaint": lambda folder: sdxl(folder, "StableDiffusionXLInpaintPipeline", 9),
    "sdxl_inpaint of plain SDXL": lambda folder: sdxl(folder, "StableDiffusionXLPipeline"),
    "kandinsky_inpaint": lambda folder: kandinsky(folder)[2],
    "flux_fill": lambda folder: flux(folder, "FluxFillPipeline", 8 + 8 + 16),
    "flux_kontext": lambda folder: flux(folder, "FluxKontextPipeline", 8),
    "qwen_image_edit": lambda folder: qwen(folder, "QwenImageEditPipeline"),
    "qwen_image_edit of Plus": lambda folder: qwen(folder, "QwenImageEditPlusPipeline"),
}
"""By editor, and what kind of checkpoint: writes a pipeline into a folder and returns where."""


def write(case: str, folder: Path) -> Path:
    """Write the pipeline of a case, always with the same weights."""
    with seeded(0), quiet():
        return WRITERS[case](folder)
