"""Small random checkpoints, one in each layout that skclip reads, for tests that damage them."""

import copy
import gzip
import json
import warnings

import torch
from safetensors.torch import save_file

from skclip.checkpoints.formats import huggingface, openai
from skclip.checkpoints.save import save_model
from skclip.model.clip import CLIP
from skclip.model.config import CLIPConfig, PreprocessConfig, TextConfig, VisionConfig
from skclip.model.tokenizer import train_tokenizer

VOCAB_SIZE = 530
GZIPPED = "bpe_simple_vocab_16e6.txt.gz"
_HUGGING_FACE = ("config.json", "preprocessor_config.json")
_VOCABULARY = ("vocab.json", "merges.txt", "tokenizer_config.json")

# the files of each layout; the first one holds the weights
LAYOUTS = {
    "Hugging Face": ("model.safetensors", *_HUGGING_FACE, *_VOCABULARY),
    "Hugging Face, sharded": (
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "config.json",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ),
    "Hugging Face, torch": ("pytorch_model.bin", *_HUGGING_FACE, GZIPPED),
    "open_clip": (
        "open_clip_model.safetensors",
        "open_clip_config.json",
        "config.json",
        "tokenizer.json",
    ),
    "open_clip, torch before 1.6": (
        "open_clip_pytorch_model.bin",
        "open_clip_config.json",
        *_VOCABULARY,
    ),
    "open_clip, training": ("epoch_3.pt", "open_clip_config.json", GZIPPED),
    "open_clip, ResNet": ("open_clip_model.safetensors", "open_clip_config.json", *_VOCABULARY),
    "OpenAI": ("model.pt", GZIPPED),
    "skclip": ("model.safetensors", *_HUGGING_FACE, *_VOCABULARY, "prompt_templates.json"),
}


def write_layouts(folder):
    """Write each layout into a directory of its name."""
    texts = ["a photo of a cat", "the cat and the hat", "a photograph of that other hat"] * 3
    tokenizer = train_tokenizer(texts, vocab_size=VOCAB_SIZE, context_length=16)
    vit, resnet = _model(tokenizer, "vit"), _model(tokenizer, "resnet")
    for name in LAYOUTS:
        directory = folder / name
        model = resnet if name == "open_clip, ResNet" else vit
        save_model(
            directory,
            model,
            tokenizer,
            PreprocessConfig(model.config.vision.image_size, mean=(0.5, 0.4, 0.3)),
            templates=["a photo of a {}."] if name == "skclip" else (),
        )
        _WRITERS.get(name, _keep)(directory, model)
        _write_vocabulary(directory, tokenizer, LAYOUTS[name])
        for path in set(directory.iterdir()) - {directory / file for file in LAYOUTS[name]}:
            path.unlink()


def _model(tokenizer, kind):
    torch.manual_seed(0)
    if kind == "vit":
        vision = VisionConfig(
            image_size=32, patch_size=8, width=64, layers=1, activation="quick_gelu"
        )
    else:
        vision = VisionConfig(image_size=64, patch_size=None, width=8, layers=(1, 1, 1, 1))
    text = TextConfig(
        vocab_size=len(tokenizer.vocab),
        context_length=16,
        width=64,
        layers=2,
        activation="quick_gelu",
    )
    return CLIP(CLIPConfig(48, vision, text)).eval()


def _keep(directory, model):
    pass


def _write_shards(directory, model):
    state = huggingface.revert(model.state_dict())
    names = LAYOUTS["Hugging Face, sharded"][:2]
    keys = sorted(state)
    shards = {names[0]: keys[: len(keys) // 2], names[1]: keys[len(keys) // 2 :]}
    for name, part in shards.items():
        save_file({key: state[key].contiguous() for key in part}, directory / name)
    weight_map = {key: name for name, part in shards.items() for key in part}
    size = sum(value.nbytes for value in state.values())
    _write_json(
        directory / "model.safetensors.index.json",
        {"metadata": {"total_size": size}, "weight_map": weight_map},
    )
    # as transformers 5 writes it
    image_processor = json.loads((directory / "preprocessor_config.json").read_text())
    _write_json(
        directory / "processor_config.json",
        {"image_processor": image_processor, "processor_class": "CLIPProcessor"},
    )


def _write_torch(directory, model):
    state = huggingface.revert(model.state_dict())
    state = {key: value.contiguous() for key, value in state.items()}
    state["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    torch.save(state, directory / "pytorch_model.bin")


def _write_open_clip(directory, model):
    save_file(model.state_dict(), directory / "open_clip_model.safetensors")
    _write_open_clip_config(directory)


def _write_old_torch(directory, model):
    torch.save(
        openai.revert(model.state_dict()),
        directory / "open_clip_pytorch_model.bin",
        _use_new_zipfile_serialization=False,
    )
    _write_open_clip_config(directory)


def _write_training(directory, model):
    state = {f"module.{key}": value for key, value in openai.revert(model.state_dict()).items()}
    torch.save({"epoch": 3, "name": "vit", "state_dict": state}, directory / "epoch_3.pt")
    _write_open_clip_config(directory)


def _write_archive(directory, model):
    module = _Archived(copy.deepcopy(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates writing them
        traced = torch.jit.trace(module, torch.zeros(1, 3, 32, 32), check_trace=False)
        traced.half().save(directory / "model.pt")


class _Archived(torch.nn.Module):
    """OpenAI's module tree: the text tower's parts at the top, constants beside the weights."""

    def __init__(self, model):
        super().__init__()
        self.visual = model.visual
        self.transformer = model.text.transformer
        self.token_embedding = model.text.token_embedding
        self.ln_final = model.text.ln_final
        self.positional_embedding = model.text.positional_embedding
        self.text_projection = model.text.text_projection
        self.logit_scale = model.logit_scale
        for name in ("input_resolution", "context_length", "vocab_size"):
            self.register_buffer(name, torch.tensor(1))

    def forward(self, pixels):
        return self.visual(pixels)


_WRITERS = {
    "Hugging Face, sharded": _write_shards,
    "Hugging Face, torch": _write_torch,
    "open_clip": _write_open_clip,
    "open_clip, torch before 1.6": _write_old_torch,
    "open_clip, training": _write_training,
    "OpenAI": _write_archive,
}


def _write_open_clip_config(directory):
    # the keys that open_clip's push_to_hf_hub.py writes, among them those that have no effect
    model = {
        "embed_dim": 48,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 32,
            "layers": 1,
            "width": 64,
            "head_width": 64,
            "mlp_ratio": 4.0,
            "patch_size": 8,
            "patch_dropout": 0.0,
            "act_kwargs": None,
            "norm_kwargs": {"eps": 1e-5},
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": VOCAB_SIZE,
            "width": 64,
            "heads": 1,
            "layers": 2,
            "mlp_ratio": 4.0,
            "pool_type": "argmax",
            "hf_tokenizer_name": "openai/clip-vit-base-patch32",
            "tokenizer_kwargs": {"clean": "lower"},
        },
    }
    preprocess = {
        "size": [32, 32],
        "mode": "RGB",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    }
    _write_json(
        directory / "open_clip_config.json", {"model_cfg": model, "preprocess_cfg": preprocess}
    )


def _write_vocabulary(directory, tokenizer, files):
    """Write the kinds of vocabulary that the saver does not write."""
    merges = [" ".join(pair) for pair in tokenizer.merges]
    if GZIPPED in files:
        # OpenAI's file has a header, and more merges than the vocabulary
        lines = ['"bpe_simple_vocab_16e6.txt#version: 0.2', *merges, *["q x", "x q"] * 5]
        (directory / GZIPPED).write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    if "tokenizer.json" in files:
        special = [tokenizer.start_token, tokenizer.end_token]
        added = [
            {"id": tokenizer.vocab[token], "content": token, "special": True, "normalized": False}
            for token in special
        ]
        model = {
            "type": "BPE",
            "dropout": None,
            "unk_token": special[1],
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>",
            "fuse_unk": False,
            "vocab": {key: value for key, value in tokenizer.vocab.items() if key not in special},
            "merges": merges,
        }
        content = {"version": "1.0", "added_tokens": added, "normalizer": None, "model": model}
        _write_json(directory / "tokenizer.json", content)


def _write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
