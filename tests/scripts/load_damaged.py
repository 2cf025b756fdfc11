"""Load the checkpoints that another process damages, in little memory, and report what happened.

python load_damaged.py DESCRIPTOR

`tests/checkpoint_fuzzing/fuzzer.py` starts this process and sends it jobs over the connection with
this file descriptor.
"""

import faulthandler
import gc
import io
import json
import math
import os
import resource
import sys
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import skclip
from skclip.checkpoints import fingerprint, load
from skclip.checkpoints.formats import openai
from skclip.encode import encoder as encoder_module
from skclip.encode.encoder import load_encoder
from skclip.exceptions import CheckpointError, ModelNotAvailableError, TextTruncationWarning

MEMORY = 1 << 30  # bytes that one job may map
LONGEST_MESSAGE = 1000
PICTURE = Image.fromarray(np.arange(40 * 50 * 3, dtype=np.uint8).reshape(40, 50, 3))
TEXT = "a cat"
# from finite weights of this size on, vectors may overflow
LARGE = 1e4

# what no reader of a file does
FORBIDDEN = (
    "ctypes.",
    "os.chmod",
    "os.exec",
    "os.fork",
    "os.kill",
    "os.link",
    "os.mkdir",
    "os.posix_spawn",
    "os.putenv",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.spawn",
    "os.symlink",
    "os.system",
    "os.truncate",
    "pickle.find_class",
    "pty.",
    "shutil.",
    "signal.",
    "socket.",
    "subprocess.",
    "webbrowser.",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# each reader names one of these when the limit stops it
OUT_OF_MEMORY = ("alloc", "not enough memory", "out of memory")

events = None  # a list while a job runs


def watch(event, arguments):
    if events is None:
        return
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
        events.append(f"opened {arguments[0]!r} to write")
    elif event.startswith(FORBIDDEN):
        events.append(f"{event}{arguments!r}"[:200])


class FindError(Exception):
    """What a checkpoint did that none may do."""


def use(job):
    """Load a checkpoint in every way, embed an image and a text, and return the vectors."""
    source = Path(job["source"])
    encoder = load_encoder(source)
    images, texts = encoder.encode_images([PICTURE]), encoder.encode_texts([TEXT])
    model, tokenizer, preprocess_config = load.load_model(source)
    check_tokenizer(tokenizer, model.config.text)
    if not (math.isfinite(encoder.logit_scale) and encoder.logit_scale > 0):
        raise FindError(f"the logit scale is {encoder.logit_scale}")
    if not (np.isfinite(images).all() and np.isfinite(texts).all()):
        largest = max(float(value.abs().max()) for value in model.state_dict().values())
        if largest < LARGE and max(map(abs, preprocess_config.mean)) < LARGE * min(
            preprocess_config.std
        ):
            raise FindError("the vectors are not finite")
        return {"outcome": "overflow"}
    if digest(job) != encoder.fingerprint:
        raise FindError("checkpoint_fingerprint differs from the encoder's fingerprint")
    return {"outcome": "vectors", "images": images[0].tolist(), "texts": texts[0].tolist()}


def digest(job):
    """Return the fingerprint of a checkpoint that is not loaded for it."""
    return fingerprint.checkpoint_fingerprint(Path(job["source"]))


def check_tokenizer(tokenizer, text):
    ids = list(tokenizer.vocab.values())
    if not all(type(index) is int and 0 <= index < text.vocab_size for index in ids):
        raise FindError("a token id is no integer of the model's vocabulary")
    if len(set(ids)) < len(ids):
        raise FindError("two symbols have the same id")
    if tokenizer.end_id != text.end_token_id:
        raise FindError("the tokenizer's end token is not the model's")


def run(job):
    """Return what came of a job, as a dict that JSON can hold."""
    global events
    # the file passes for one of OpenAI's archives, which all have a vocabulary of the same size
    openai.ARCHIVES = {job["digest"]: "damaged"}
    fingerprint.OPENAI_VOCAB_SIZE = job["vocab_size"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # a context may have become shorter than the text
        warnings.simplefilter("ignore", TextTruncationWarning)
        events = []
        result = attempt(use, job)
        if result.get("outcome") == "refused" and "find" not in result:
            # it is hashed without being checked as far
            result |= attempt(digest, job, then={})
        done, events = events, None
        encoder_module._loaded.clear()
        gc.collect()
    # the directory is new for each job, and would make each message another one
    if done:
        result |= {"find": "does what reading does not need", "where": done[0].split("(")[0]}
        result["message"] = str(done)[:500]
    elif caught and "find" not in result:
        first = caught[0]
        result |= {"find": f"warns with {first.category.__name__}", "where": ""}
        result["message"] = str(first.message)[:500]
    return result


def attempt(function, job, then=None):
    """Return what a function returns, or `then`, or what came instead."""
    try:
        value = function(job)
        return value if then is None else then
    except (CheckpointError, ModelNotAvailableError) as error:
        result = {"outcome": "refused", "message": f"{type(error).__name__}: {error}"}
        if fault := fault_of(error, job):
            result |= {"find": fault, "where": place_of(error)}
        return result
    except FindError as error:
        return {"find": str(error), "where": "", "message": ""}
    except BaseException as error:
        return {
            "find": f"raises {type(error).__name__}",
            "where": place_of(error),
            "message": f"{type(error).__name__}: {error}"[:500],
        }


def fault_of(error, job):
    """Say what is wrong with an error that is of the right kind; None if nothing is."""
    message = str(error)
    if len(message) > LONGEST_MESSAGE:
        return f"a message of more than {LONGEST_MESSAGE} characters"
    if isinstance(error, CheckpointError) and not any(name in message for name in job["names"]):
        return "a message that names no file"
    seen = []
    while error is not None and error not in seen:
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(part in text for part in OUT_OF_MEMORY):
            return "asks for more memory than it may"
        if isinstance(error, Warning):
            return f"warns with {type(error).__name__}"
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None


def place_of(error):
    """Return the file of skclip and the function where an exception came from."""
    package = Path(skclip.__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(package)]
    if not own:
        return "outside of skclip"
    return f"{Path(own[-1].filename).relative_to(package)}:{own[-1].name}"


def main():
    connection = Connection(int(sys.argv[1]))
    faulthandler.enable()  # the other process reads where this one ended
    torch.set_num_threads(1)
    sys.addaudithook(watch)
    load_encoder("skclip/tiny").encode_texts([TEXT])  # everything is imported now
    encoder_module._loaded.clear()
    gc.collect()
    gc.freeze()  # so that collecting after each job is fast
    connection.send_bytes(b"{}")
    page = resource.getpagesize()
    while True:
        try:
            job = json.load(io.BytesIO(connection.recv_bytes()))
        except EOFError:
            return
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * page
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, hard))
        faulthandler.dump_traceback_later(job["seconds"] - 0.2)
        answer = json.dumps(run(job)).encode()
        faulthandler.cancel_dump_traceback_later()
        connection.send_bytes(answer)


if __name__ == "__main__":
    main()
