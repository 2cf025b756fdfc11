"""Every field that is read from a JSON file, with values that it cannot have.

Such a value is refused by name, or it changes nothing.
"""

import json
import re
import sys

import pytest
import torch
from safetensors.torch import save_file

from skclip.checkpoints import tokenizer_files
from skclip.checkpoints.companions import TEMPLATE_FIELDS, read_templates
from skclip.checkpoints.formats import huggingface, open_clip, openai
from skclip.checkpoints.load import load_checkpoint
from skclip.checkpoints.save import save_model
from skclip.exceptions import CheckpointError

ODD_VALUES = [
    *(None, True, -1, 0, 1.5, 10**9, 10**30, 1e300),
    *("", "x", [], [1], ["x"] * 4, {}, {"a": {"b": [1]}}, [[[]]]),
]
ODD_TEXTS = [*map(json.dumps, ODD_VALUES), "1e400"]

EITHER = [
    ("tokenizer_config.json", (), tokenizer_files.CONFIG_FIELDS),
    ("prompt_templates.json", (), TEMPLATE_FIELDS),
]
OPEN_CLIP = [
    (open_clip.CONFIG, (), open_clip.FILE_FIELDS),
    (open_clip.CONFIG, ("model_cfg",), open_clip.MODEL_FIELDS),
    (open_clip.CONFIG, ("model_cfg", "text_cfg"), open_clip.TEXT_FIELDS),
    (open_clip.CONFIG, ("model_cfg", "text_cfg", "norm_kwargs"), open_clip.NORM_FIELDS),
    (open_clip.CONFIG, ("model_cfg", "vision_cfg"), open_clip.VISION_FIELDS),
    (open_clip.CONFIG, ("preprocess_cfg",), open_clip.PREPROCESS_FIELDS),
]
VISION_NORM = (
    open_clip.CONFIG,
    ("model_cfg", "vision_cfg", "norm_kwargs"),
    open_clip.NORM_FIELDS,
)
HUGGING_FACE = [
    (huggingface.CONFIG, (), huggingface.MODEL_FIELDS),
    (huggingface.CONFIG, ("text_config",), huggingface.TEXT_FIELDS),
    (huggingface.CONFIG, ("vision_config",), huggingface.VISION_FIELDS),
    ("preprocessor_config.json", (), huggingface.PREPROCESS_FIELDS),
]
# the layout of the configuration, the image tower, and where in which file which fields stand
LAYOUTS = {
    "transformers": (huggingface, "vit", HUGGING_FACE + EITHER),
    "open_clip-vit": (open_clip, "vit", [*OPEN_CLIP, VISION_NORM]),
    "open_clip-resnet": (open_clip, "resnet", OPEN_CLIP),
}


@pytest.fixture(params=LAYOUTS)
def checkpoint(request, tmp_path, make_model, tokenizer, make_preprocess_config):
    """Save a checkpoint; return its directory, the module of its layout, and its fields."""
    layout, kind, places = LAYOUTS[request.param]
    model = make_model(kind)
    preprocess_config = make_preprocess_config(model.config.vision.image_size)
    save_model(tmp_path, model, tokenizer, preprocess_config, templates=("a {}",))
    if request.param == "open_clip-vit":
        (tmp_path / huggingface.CONFIG).unlink()
        state = openai.revert(model.state_dict())
        save_file(state, tmp_path / open_clip.WEIGHTS[0])
        open_clip.write_config(
            tmp_path, model.config, preprocess_config, end_token_id=tokenizer.end_id
        )
        change(
            tmp_path / open_clip.CONFIG,
            ("model_cfg",),
            "vision_cfg",
            {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2}
            | {"norm_kwargs": {"eps": 1e-5}},
        )
    if layout is open_clip:
        text = {"norm_kwargs": {"eps": 1e-5}, "pool_type": "eos", "eos_id": tokenizer.end_id}
        for name, value in text.items():
            change(tmp_path / open_clip.CONFIG, ("model_cfg", "text_cfg"), name, value)
    return tmp_path, layout, places


def change(path, where, name, value):
    content = part = json.loads(path.read_text())
    for key in where:
        part = part[key]
    part[name] = value
    path.write_text(json.dumps(content))


def vectors_of(model, pixels, token_ids):
    with torch.inference_mode():
        images = model.encode_image(pixels(model.config.vision.image_size))
        return torch.cat([images, model.encode_text(token_ids)])


def read(directory, layout):
    """Read what decides the vectors beside the weights; return it, or the error's message."""
    try:
        config, preprocess_config, _ = layout.read_config(directory)
        vocabulary = tokenizer_files.read_vocabulary(directory, vocab_size=config.text.vocab_size)
        templates = read_templates(directory)
    except CheckpointError as error:
        return str(error)
    return config, preprocess_config, vocabulary.start_id, vocabulary.end_id, templates


def test_odd_values_are_refused_or_change_nothing(checkpoint, pixels, token_ids):
    directory, layout, places = checkpoint
    expected = read(directory, layout)
    vectors = vectors_of(load_checkpoint(directory).model, pixels, token_ids)
    n_refused = 0
    for file, where, schema in places:
        path = directory / file
        original = path.read_text()
        for name, (kind, default) in schema.items():
            change(path, where, name, "ODD")
            template = path.read_text()
            for text in ODD_TEXTS:
                path.write_text(template.replace('"ODD"', text))
                found = read(directory, layout)
                if found == expected:
                    continue
                n_refused += 1
                value = json.loads(text)
                if not (kind.accepts(value) or value is default):
                    assert isinstance(found, str), (name, text)
                    assert found.count(str(path)) == 1
                    assert re.search(f"{name} must be|lacks {name}", found), found
                elif not isinstance(found, str):  # the weights decide
                    try:
                        model = load_checkpoint(directory).model
                    except CheckpointError:
                        continue
                    assert torch.equal(vectors_of(model, pixels, token_ids), vectors), (name, text)
            path.write_text(original)
    assert n_refused > 10 * sum(len(schema) for _, _, schema in places)


def test_sizes_beyond_the_tensors_take_no_memory(checkpoint):
    resource = pytest.importorskip("resource")
    directory, _, places = checkpoint
    load_checkpoint(directory)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for file, where, schema in places:
        path = directory / file
        original = path.read_text()
        for name, (kind, _) in schema.items():
            # about the largest values that the field may have
            sizes = [1 << bits for bits in (22, 20, 16, 14, 10)]
            sizes += [[size] * 4 for size in sizes]
            size = next(filter(kind.accepts, sizes), None)
            if size is None or name == "patch_size":  # which a ResNet does not use
                continue
            change(path, where, name, size)
            with pytest.raises(CheckpointError):
                load_checkpoint(directory)
            path.write_text(original)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100 * (1 << 20 if sys.platform == "darwin" else 1 << 10)  # megabytes
