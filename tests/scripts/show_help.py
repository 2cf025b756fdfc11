"""Show the help of a command, then print which heavy modules that has imported."""

import sys

import skclip.cli.main

HEAVY = {"torch", "numpy", "PIL", "sklearn", "pyarrow", "tqdm"}

try:
    skclip.cli.main.main(["embed", "--help"])
except SystemExit:
    print(sorted(HEAVY & {*sys.modules}))
