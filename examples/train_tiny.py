"""Train the bundled model ``skclip/tiny`` on drawings alone.

::

    python examples/train_tiny.py --fonts /usr/share/fonts --out tiny

Draws digits, letters, words and scenes of colored shapes, trains a small CLIP on them and saves
it to ``tiny``, which takes about 40 minutes on two cores. After an interruption, the same command
resumes the training. The same seed, fonts, number of threads and versions give the same model.
"""

import argparse
import random
import string
from collections import defaultdict
from pathlib import Path

import joblib
import numpy as np
import torch

from skclip.datasets import make_glyphs, make_scenes
from skclip.training import (
    CLIP,
    Augmentation,
    CLIPConfig,
    TextConfig,
    Trainer,
    VisionConfig,
    save_model,
    train_tokenizer,
)

IMAGE_SIZE = 32
CONTEXT_LENGTH = 32

# Never drawn in training, so that naming them shows whether color and shape compose.
HELD_OUT_PAIRS = [
    ("red", "circle"),
    ("blue", "star"),
    ("green", "heart"),
    ("yellow", "triangle"),
    ("orange", "square"),
    ("purple", "diamond"),
    ("pink", "crescent"),
    ("brown", "cross"),
]

# Never used in training, so that reading them shows whether the model knows letters in any font.
HELD_OUT_FONTS = ("karla", "quicksand", "oldstandard", "andika", "inconsolata", "breip")

# Fonts whose letters are symbols or drawings.
_NOT_LETTERS = ("D050000L", "LinLibertine_K", "StandardSymbols", "Dingbats", "Symbol", "Emoji")
_FONTS_A_FOLDER = 12

WORDS = """
apple arm baby ball bank bear bed bee bell bike bird black blue boat book box boy bread bus cake
car cat chair clock closed coat cow cup day dog door duck ear egg exit eye face fire fish flag
flower food foot fox frog game gate girl go gold green hand hat hello help home horse hot hotel
house ice iron jam key king lake lamp leaf lemon light lion love map milk money moon mouse music
name nest net night no nose ocean old open orange owl park pen pig pink plane push pull queen
rabbit radio rain red ring river road room rose salt sand school sea ship shoe shop silver sky
snow sock song spoon star stop sugar sun table taxi tea tiger time toy train tree van water
white wind window wolf wood yellow yes zebra zoo
""".split()
TEMPLATES = ("a {}", "a picture of a {}")
SIGNS = "+-=?!&@#%*/<>()[]$:;,."

# Shares of all drawings; the rest are scenes.
SHARES = {"digits": 0.36, "letters": 0.18, "words": 0.06, "numbers": 0.02, "signs": 0.02}
_CHUNK = 10_000
_FONTS_A_CHUNK = 60


def find_fonts(folder):
    """Return the training and the held-out fonts below a folder, about a dozen per family."""
    families = defaultdict(list)
    for path in sorted(Path(folder).rglob("*")):
        is_font = path.suffix.lower() in (".ttf", ".otf")
        if is_font and not any(name in path.name for name in _NOT_LETTERS):
            families[path.parent].append(str(path))
    training, held_out = [], []
    for family, paths in families.items():
        is_held_out = any(name in family.name for name in HELD_OUT_FONTS)
        step = max(1, -(-len(paths) // _FONTS_A_FOLDER))
        (held_out if is_held_out else training).extend(paths[::step])
    return training, held_out


def draw_chunk(n_drawings, fonts, seed):
    """Draw images and captions of every kind."""
    chance = random.Random(seed)
    fonts = chance.sample(fonts, min(_FONTS_A_CHUNK, len(fonts)))
    numbers = [str(chance.randint(10, 999)) for _ in range(40)] + list(map(str, range(10, 21)))
    words = chance.sample(WORDS, 60)
    words += [word.upper() if chance.random() < 0.5 else word.title() for word in words[:30]]
    characters = {
        "digits": string.digits,
        "letters": string.ascii_letters,
        "words": words,
        "numbers": numbers,
        "signs": SIGNS,
    }
    images, captions = [], []
    for kind, share in SHARES.items():
        glyphs = make_glyphs(
            max(1, round(share * n_drawings)),
            characters=characters[kind],
            style="both" if kind in ("digits", "letters") else "typeset",
            fonts=fonts[:20] if kind in ("words", "numbers") else fonts,
            image_size=IMAGE_SIZE,
            pixelate=0.1 if kind in ("words", "numbers") else 0.55,
            random_state=seed,
        )
        images.append(glyphs.images)
        captions += glyphs.captions
    n_left = n_drawings - len(captions)
    for n_scenes, n_objects in ((n_left // 2, (1, 1)), (n_left - n_left // 2, (1, 4))):
        scenes = make_scenes(
            max(1, n_scenes),
            n_objects=n_objects,
            exclude_pairs=HELD_OUT_PAIRS,
            image_size=IMAGE_SIZE,
            random_state=seed + n_objects[1],
        )
        images.append(scenes.images)
        captions += scenes.captions
    return np.concatenate(images), captions


def draw(n_drawings, fonts, seed):
    """Draw chunks in parallel; the result depends on the arguments alone."""
    sizes = [min(_CHUNK, n_drawings - start) for start in range(0, n_drawings, _CHUNK)]
    n_jobs = min(joblib.cpu_count(), len(sizes))
    chunks = joblib.Parallel(n_jobs)(
        joblib.delayed(draw_chunk)(size, fonts, seed * 1_000_000 + 10 * i)
        for i, size in enumerate(sizes)
    )
    images = np.concatenate([images for images, _ in chunks])
    return images, [caption for _, captions in chunks for caption in captions]


def make_model(captions):
    """Return an untrained model with a tokenizer made for the captions."""
    tokenizer = train_tokenizer(captions, vocab_size=1536, context_length=CONTEXT_LENGTH)
    config = CLIPConfig(
        embed_dim=192,
        vision=VisionConfig(image_size=IMAGE_SIZE, width=20, layers=(2, 2, 2, 2), patch_size=None),
        text=TextConfig(len(tokenizer.vocab), CONTEXT_LENGTH, width=128, layers=2),
    )
    return CLIP(config), tokenizer


def main(arguments=None):
    """Draw, train, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fonts", default="/usr/share/fonts", help="folder searched for fonts")
    parser.add_argument("--out", required=True, help="directory for the model")
    parser.add_argument("--steps", type=int, default=4800, help="optimizer steps")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument(
        "--drawings", type=int, default=320_000, help="number of different drawings"
    )
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)

    fonts, _ = find_fonts(args.fonts)
    if not fonts:
        parser.error(f"no fonts (.ttf, .otf) below {args.fonts}")
    print(f"drawing {args.drawings} images with {len(fonts)} fonts")
    images, captions = draw(args.drawings, fonts, args.seed)
    torch.manual_seed(args.seed)
    model, tokenizer = make_model(captions)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    state_file = out / "interrupted.pt"
    trainer = Trainer(
        model,
        tokenizer,
        augment=Augmentation(),
        n_steps=args.steps,
        batch_size=args.batch_size,
        lr=args.lr,
        weight_decay=0.05,
        max_grad_norm=1.0,
        random_state=args.seed,
    )
    trainer.fit((images, captions), state_file=state_file, verbose=1)
    save_model(
        out, model, tokenizer, trainer.preprocess_config, templates=TEMPLATES, dtype="float16"
    )
    state_file.unlink()
    print(f"saved to {out}; mean loss of the last steps {trainer.losses_[-100:].mean():.3f}")


if __name__ == "__main__":
    main()
