"""Damage checkpoints at random for a long time, and report what they do that they may not do.

python fuzz_checkpoints.py --seconds 3600 --seed 1 --finds finds.jsonl

Each find that differs from those before is made small, printed, and appended to the file as one
line of JSON, with a case that reproduces it. A line a minute tells how far the run is. The exit
code is 1 if there is any find. `python fuzz_checkpoints.py --again finds.jsonl` tries the cases of
such a file again. `tests/checkpoints/test_fuzz_checkpoints.py` is a short run.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

sys.path.insert(0, str(Path(__file__).parents[1]))  # where checkpoint_fuzzing is

from checkpoint_fuzzing import cases as damage
from checkpoint_fuzzing.cases import cases
from checkpoint_fuzzing.fuzzer import Fuzzer

EXAMPLES = 1000  # for one seed
SECONDS_TO_SHRINK = 15


class Search:
    """Looks for finds that differ from the known ones until its time is over."""

    def __init__(self, fuzzer, seconds, path):
        self.fuzzer = fuzzer
        self.path = path
        self.known = {}  # what and where -> how often
        self.started = time.monotonic()
        self.end = self.started + seconds
        self.progress = self.started + 60

    def run(self, number):
        """Try the examples of one seed, up to a find that is not known; report it."""
        smallest = []
        until = self.end

        @seed(number)
        @settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(cases())
        def attempt(case):
            nonlocal until
            if time.monotonic() > until and not self.fuzzer.knows(case):
                return
            find = self.fuzzer.find(case)
            self.show_progress()
            if find is None:
                return
            place = find.what, find.where
            if smallest and place != smallest[0] and place not in self.known:
                self.report(find, case)  # met on the way, and left as large as it is
            if place in self.known:
                self.known[place] += 1
                return
            if not smallest:
                until = min(self.end, time.monotonic() + SECONDS_TO_SHRINK)
            smallest[:] = [place, find, case]
            raise AssertionError(find)

        try:
            attempt()
        except AssertionError:
            self.report(*smallest[1:])

    def report(self, find, case):
        self.known[find.what, find.where] = 1
        print(f"{find}\n    {case!r}"[:1500], flush=True)
        line = {"what": find.what, "where": find.where, "message": find.message}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line | {"case": repr(case)}) + "\n")

    def show_progress(self, *, always=False):
        now = time.monotonic()
        if always or now > self.progress:
            self.progress = now + 60
            outcomes = ", ".join(f"{n} {name}" for name, n in self.fuzzer.outcomes.items())
            print(f"{now - self.started:.0f} s: {outcomes}; {len(self.known)} kinds", flush=True)


def try_again(path, fuzzer):
    """Try the cases of a file of finds; return how many still are finds."""
    lines = path.read_text(encoding="utf-8").splitlines()
    n_finds = 0
    for line in lines:
        case = eval(json.loads(line)["case"], vars(damage))
        find = fuzzer.find(case)
        n_finds += find is not None
        print(f"{find or 'held'}\n    {case!r}"[:1500], flush=True)
    print(f"{n_finds} of {len(lines)} are finds")
    return n_finds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--finds", type=Path, default=Path("finds.jsonl"))
    parser.add_argument("--again", type=Path, help="a file of finds, whose cases are tried again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Fuzzer(Path(folder)) as fuzzer:
        if options.again:
            return int(try_again(options.again, fuzzer) > 0)
        search = Search(fuzzer, options.seconds, options.finds)
        number = options.seed
        while time.monotonic() < search.end:
            search.run(number)
            number += 1_000_003  # far from the seeds of another run
        search.show_progress(always=True)
        for (what, where), count in search.known.items():
            print(f"{count:6d}  {what} ({where})")
        return int(bool(search.known))


if __name__ == "__main__":
    sys.exit(main())
