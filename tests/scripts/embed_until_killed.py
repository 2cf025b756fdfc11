"""Embed the images of a folder; kill this process while it writes the third part.

python embed_until_killed.py FOLDER OUT
"""

import os
import signal
import sys

from skclip.encode.bulk.recipe import Recipe
from skclip.encode.bulk.run import embed_collection
from skclip.inputs.collections.collection import open_collection

synced = []


def kill_at_third_sync(stream):
    """Stand in for `os.fsync`, which is called once for each part."""
    synced.append(stream)
    if len(synced) == 3:
        os.kill(os.getpid(), signal.SIGKILL)


os.fsync = kill_at_third_sync
embed_collection(
    open_collection([sys.argv[1]]), sys.argv[2], Recipe("skclip/tiny"), rows_per_part=10
)
