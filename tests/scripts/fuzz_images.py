"""Damage image files at random for some time; keep those for which anything goes wrong.

    PYTHONPATH=tests python tests/scripts/fuzz_images.py --seconds 600 --finds /tmp/finds

Prints the kind of file, the operations and the problem of each find; these are what
tests/inputs/test_fuzz_images.py takes as an example.
"""

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from damaged_images import OPERATIONS, Worker, damage, good_files


def random_operations(rng):
    count = rng.choice([1, 1, 2, 3, 4])
    places = [rng.random() * rng.choice([1, 0.1]) for _ in range(count)]
    return [(rng.choice(OPERATIONS), place, rng.randrange(1001)) for place in places]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--finds", type=Path, help="a folder for the files that go wrong")
    options = parser.parse_args()
    files, worker, rng = good_files(), Worker(), random.Random(options.seed)
    outcomes = Counter()
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        name, operations = rng.choice(sorted(files)), random_operations(rng)
        content = damage(files[name], operations)
        answer = worker.check(content)
        outcomes["readable" if answer["readable"] else "refused"] += 1
        if answer["problem"] is not None:
            outcomes["finds"] += 1
            print(repr(name), operations, answer["problem"], flush=True)
            if options.finds is not None:
                options.finds.mkdir(parents=True, exist_ok=True)
                (options.finds / f"{outcomes['finds']}-{name}").write_bytes(content)
    worker.close()
    print(dict(outcomes))


if __name__ == "__main__":
    main()
