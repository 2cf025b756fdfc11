"""Read an image in a thread, at two sizes; print what that started and imported.

python read_in_thread.py PATH
"""

import os
import sys
import threading

import torch

from skclip.encode.reading import read_pixels
from skclip.inputs.items import as_item
from skclip.model.config import PreprocessConfig


def count_threads():
    return len(os.listdir("/proc/self/task"))


def read():
    for size in (224, 900):
        read_pixels(as_item(sys.argv[1]), PreprocessConfig(image_size=size))
    print(count_threads() - n_threads_before, "torchvision" in sys.modules)


torch.set_num_threads(4)
n_threads_before = count_threads()
thread = threading.Thread(target=read)
thread.start()
thread.join()
