"""Models with random weights for the benchmarks. Nothing here imports skclip."""

import json
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import open_clip
import torch
import transformers

transformers.utils.logging.disable_progress_bar()
transformers.logging.set_verbosity_error()

# transformers 5 gives the Pillow processor a name of its own, transformers 4 the fast one
if hasattr(transformers, "CLIPImageProcessorPil"):
    slow_processor = transformers.CLIPImageProcessorPil
    fast_processor = transformers.CLIPImageProcessor
else:
    slow_processor = transformers.CLIPImageProcessor
    fast_processor = transformers.CLIPImageProcessorFast


def save_vit(directory, **sizes):
    """Save a CLIP with random weights and OpenAI's vocabulary, in Hugging Face's layout.

    Parameters
    ----------
    directory : Path
    **sizes : int
        ``image_size``, ``patch_size``, ``width``, ``layers``, ``heads`` and ``embed_dim`` of the
        image tower. Without them the model has the sizes of ViT-B/32; with them its text tower has
        one layer.
    """
    torch.manual_seed(0)
    size = sizes.get("image_size", 224)
    config = transformers.CLIPConfig()
    if sizes:
        width = sizes["width"]
        vision = {
            "image_size": size,
            "patch_size": sizes["patch_size"],
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": sizes["layers"],
            "num_attention_heads": sizes["heads"],
        }
        text = {
            "hidden_size": 64,
            "intermediate_size": 256,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
        }
        config = transformers.CLIPConfig(
            text_config=text, vision_config=vision, projection_dim=sizes["embed_dim"]
        )
    directory.mkdir(parents=True, exist_ok=True)
    transformers.CLIPModel(config).save_pretrained(directory)
    slow_processor(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    ).save_pretrained(directory)
    _save_openai_vocabulary(directory)
    return directory


def _save_openai_vocabulary(directory):
    # open_clip ships the vocabulary; only its two special tokens are spelled differently
    source = open_clip.tokenizer.SimpleTokenizer()
    start, end = "<|startoftext|>", "<|endoftext|>"
    symbols = [*list(source.encoder)[:-2], start, end]
    vocabulary = {symbol: i for i, symbol in enumerate(symbols)}
    merges = [" ".join(pair) for pair in source.bpe_ranks]
    special = {"bos_token": start, "eos_token": end, "pad_token": end, "unk_token": end}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special}
    (directory / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (directory / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8"
    )
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
