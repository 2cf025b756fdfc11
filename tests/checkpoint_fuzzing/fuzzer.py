"""Damage checkpoints, have a process of little memory load them, and say what it may not do.

A damaged checkpoint is loaded and gives finite vectors, or it is refused by a CheckpointError or a
ModelNotAvailableError that is short and names a file; it needs at most 5 seconds and 1 GB, warns of
nothing, runs no code, and files that do not decide a vector do not change it.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from multiprocessing import Pipe

import numpy as np
from subprocesses import script_command

from checkpoint_fuzzing.cases import ways_to_load
from checkpoint_fuzzing.layouts import LAYOUTS, VOCAB_SIZE, write_layouts

SECONDS = 5  # for one job
_SECONDS_TO_START = 120
_FRAME = re.compile(r'File ".*?/skclip/([\w/]+\.py)", line \d+ in (\w+)')

# what each file decides; the weights and their configuration decide both
_TEXTS_ONLY = ("vocab.json", "merges.txt", "tokenizer", "bpe_simple_vocab")
_IMAGES_ONLY = ("preprocessor_config.json", "processor_config.json")
_NEITHER = ("prompt_templates.json", "model.safetensors.index.json")


@dataclass(frozen=True)
class Find:
    """What a damaged checkpoint did that it may not do; `what` and `where` tell finds apart."""

    what: str
    where: str
    message: str

    def __str__(self):
        place = f" ({self.where})" * bool(self.where)
        return f"{self.what}{place}: {self.message}"


class Fuzzer:
    """Tries cases in a worker process, which is started anew after a death.

    Parameters
    ----------
    folder : Path
        Where undamaged checkpoints are written, and damaged ones for the time of a job.
    """

    def __init__(self, folder):
        self._folder = folder
        self._number = 0
        self._errors = tempfile.TemporaryFile("w+")
        self._worker = self._connection = None
        self._finds = {}
        self._asks_again = True
        self.outcomes = {}

    def __enter__(self):
        try:
            self._start()
            (self._folder / "whole").mkdir()
            write_layouts(self._folder / "whole")
            self._expected = {layout: self._vectors_of(layout) for layout in LAYOUTS}
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._stop()
        self._errors.close()

    def _vectors_of(self, layout):
        """Return the vectors of the undamaged checkpoint, which is loaded in each way."""
        for by in ways_to_load(layout):
            result = self._ask(layout, self._folder / "whole" / layout, by)
            if result.get("outcome") != "vectors":
                raise RuntimeError(f"the undamaged checkpoint {layout!r} fails: {result}")
        return result

    def knows(self, case):
        """Whether a case has been tried."""
        return repr(case) in self._finds

    def find(self, case):
        """Try a case; return what it did that it may not do, None for nothing."""
        key = repr(case)  # some cases hold lists
        if key not in self._finds:
            self._finds[key] = self._try(case)
        return self._finds[key]

    def _try(self, case):
        self._number += 1
        directory = self._folder / f"damaged {self._number}"
        shutil.copytree(self._folder / "whole" / case.layout, directory)
        try:
            case.apply(directory)
            result = self._ask(case.layout, directory, case.by)
        finally:
            shutil.rmtree(directory)
        outcome = result.get("outcome", "find")
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if "find" in result:
            return Find(result["find"], result["where"], result["message"])
        if outcome == "vectors":
            return self._compare(case, result)
        return None

    def _compare(self, case, result):
        expected = self._expected[case.layout]
        for kind in _undecided(case):
            if not np.allclose(result[kind], expected[kind], rtol=1e-4, atol=1e-5):
                return Find(f"changes the vectors of {kind}", "", "that file does not decide them")
        return None

    def _ask(self, layout, directory, by):
        """Send a job and return the answer.

        After a wait it is sent once more, because a busy machine also makes one wait; after the
        first job that waits both times, none is.
        """
        weights = directory / LAYOUTS[layout][0]
        job = {
            "source": str(directory if by == "directory" else weights),
            # a damaged archive is read further when it passes for a published one
            "digest": _sha256(weights) if layout == "OpenAI" else "",
            "vocab_size": VOCAB_SIZE,
            "names": [str(directory), *LAYOUTS[layout]],
            "seconds": SECONDS,
        }
        answer = self._ask_once(job)
        if answer is None and self._asks_again:
            answer = self._ask_once(job)
            self._asks_again = answer is not None
        if answer is None:
            return {"find": f"takes more than {SECONDS} seconds", **self._last_place()}
        return answer

    def _ask_once(self, job):
        """Return the answer to a job, or None if it does not come in time."""
        if self._worker is None:
            self._start()
        self._await_start()
        try:
            self._connection.send_bytes(json.dumps(job).encode())
            if self._connection.poll(SECONDS):
                return json.loads(self._connection.recv_bytes())
            self._stop()
            return None
        except (EOFError, OSError):
            code = self._worker.wait()
            self._stop()
            return {"find": f"ends the process ({code})", **self._last_place()}

    def _start(self):
        self._connection, theirs = Pipe()
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(self._folder / "home"),
            # each arena of the C library takes 64 MB of what may be mapped
            "MALLOC_ARENA_MAX": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._errors.seek(0)
        self._errors.truncate()
        self._worker = subprocess.Popen(
            script_command("load_damaged.py", theirs.fileno()),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=self._errors,
            env=environment,
        )
        theirs.close()
        self._ready = False

    def _await_start(self):
        if not self._ready:
            if not self._connection.poll(_SECONDS_TO_START):
                raise RuntimeError("the worker does not start")
            try:
                self._connection.recv_bytes()
            except EOFError:
                self._errors.seek(0)
                raise RuntimeError(f"the worker does not start: {self._errors.read()}") from None
            self._ready = True

    def _stop(self):
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
            self._connection.close()
        self._worker = None

    def _last_place(self):
        """Return where the worker was, by the traceback that it wrote last."""
        self._errors.seek(0)
        text = self._errors.read()
        frames = _FRAME.findall(text)
        return {"where": ":".join(frames[0]) if frames else "", "message": text[-300:]}


def _sha256(path):
    if not path.is_file():  # a named pipe would wait
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _undecided(case):
    """Return the kinds of vectors that the damaged files do not decide."""
    touched = set()
    for damage in case.damage:
        touched |= {damage.file.partition("!")[0], getattr(damage, "other", damage.file)}
    kinds = {"images", "texts"}
    for name in touched:
        if name.startswith(_TEXTS_ONLY):
            kinds.discard("texts")
        elif name in _IMAGES_ONLY:
            kinds.discard("images")
        elif name not in _NEITHER:
            kinds.clear()
    return kinds
