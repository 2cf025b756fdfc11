"""``python -m skclip``, with Ctrl-C switched on.

Under nohup and in some test runners Ctrl-C is ignored, and child processes inherit that.
"""

import runpy
import signal
import sys

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "skclip"
runpy.run_module("skclip", run_name="__main__")
