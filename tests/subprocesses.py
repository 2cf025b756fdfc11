"""Start the scripts of tests/scripts, each in a Python process of its own."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).with_name("scripts")


def script_command(name, *arguments, options=()):
    """Return the command that runs a script, as a list; `options` are Python's own."""
    return [sys.executable, *options, str(SCRIPTS / name), *map(str, arguments)]


def run_script(name, *arguments, options=()):
    """Run a script to its end and return the finished process, with its stdout and stderr."""
    command = script_command(name, *arguments, options=options)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done
