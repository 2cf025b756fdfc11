"""Print which of these are imported too early: torch, torch's compiler, ftfy."""

import sys

from skclip.checkpoints.fingerprint import checkpoint_fingerprint

checkpoint_fingerprint("skclip/tiny")
print("torch" in sys.modules)

import torch  # noqa: E402

torch.nn.Linear(1, 1, device="meta")  # with which old versions of torch import it anyway

with_torch = set(sys.modules)

from skclip.encode.encoder import load_encoder  # noqa: E402

load_encoder("skclip/tiny")
new = sys.modules.keys() - with_torch
print("sympy" in new)  # which the compiler imports
print("ftfy" in new)
