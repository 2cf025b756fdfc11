"""Prompts and templates for the benchmarks. Nothing here imports skclip."""

import numpy as np
import open_clip

SHORTEST, LONGEST = 4, 14  # tokens, start and end token included

NOUNS = """apple balloon basket bear bench bicycle bird boat book bottle bridge bus butterfly cake
camera candle car castle cat chair clock cloud coat cow crab cup desk dog dolphin door dress drum
duck elephant fence fish flag flower fork fox frog garden giraffe glove guitar hammer hat horse
house island jacket kettle key kite ladder lamp lemon lion mirror monkey mountain mushroom owl
panda pear piano pillow plate pumpkin rabbit ring river robot rocket sailor shoe snail spoon
squirrel statue sweater table teapot telephone tiger tower train tree truck turtle umbrella vase
violin wagon whale wheel window wolf zebra""".split()
ADJECTIVES = """ancient black blue bright broken brown colourful dark dusty empty frozen golden
green grey heavy huge little metal modern narrow old orange painted pink plastic purple red round
shiny silver sleeping small soft striped tall tiny wet white wooden yellow""".split()
PLACES = "beach field forest garden kitchen market meadow museum park room street village".split()
FORMS = """{a} {n}
a {a} {n}
the {n}
a photo of a {n}
a photo of a {a} {n}
{n} and {m}
a {n} in the {p}
a picture of the {a} {n} in a {p}
{a} {n} beside a {b} {m}
two {a} {n}s
a close view of a {n}
the {a} {n} is standing near the {b} {m}
someone holding a {a} {n}
a drawing of a {n} and a {m}
my {n} in the {p} at night
many {n}s and one {a} {m}
a photo of the {a} {n} left of the {b} {m}
a picture of the {a} {n} behind the {b} {m} at night""".splitlines()

QUALITIES = """blurry bright clear colourful cropped dark faded fine grainy hidden large nice old
plain sharp small strange tidy tilted wide""".split()
MEDIA = """painting drawing sculpture sticker cartoon rendering model toy print pencil_sketch
embroidery mosaic poster silhouette snapshot""".split()
OTHERS = """a {}.
the {}.
here stands a {}.
one {} among others.
many {} in a picture.
this shows the {}.
a photo taken of a {} from far away.
someone's photo of their {}.
a {} as seen at night.
a {} in front of a plain wall.""".splitlines()


def make_prompts(n_texts):
    """Return distinct prompts with their tokens; some begin alike as templates do, some do not.

    Returns
    -------
    dict of str to list of int
        The tokens are without start and end token.
    """
    tokenizer = open_clip.tokenizer.SimpleTokenizer()
    rng = np.random.default_rng(0)
    prompts = {}
    while len(prompts) < n_texts:
        n, m = rng.choice(NOUNS, 2, replace=False)
        a, b = rng.choice(ADJECTIVES, 2, replace=False)
        form = rng.choice(FORMS)
        text = form.format(a=a, b=b, n=n, m=m, p=rng.choice(PLACES))
        tokens = tokenizer.encode(text)
        if SHORTEST <= len(tokens) + 2 <= LONGEST:
            prompts[text] = tokens
    return prompts


def make_templates():
    """Return 80 templates, similar to the ensemble of the CLIP paper."""
    templates = [f"a {quality} photo of {a} {{}}." for quality in QUALITIES for a in ("a", "the")]
    media = [medium.replace("_", " ") for medium in MEDIA]
    templates += [f"a {medium} of {a} {{}}." for medium in media for a in ("a", "the")]
    return templates + OTHERS
