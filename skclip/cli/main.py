"""The command line: ``python -m skclip``, or ``skclip`` once it is installed.

A command is a file with ``add_parser`` and ``run``.
"""

import argparse
import shlex
import sys

from skclip.cli import embed

COMMANDS = (embed,)


def main(arguments=None):
    """Run a command.

    Parameters
    ----------
    arguments : list of str or None, default=None
        None means those of the process.

    Returns
    -------
    code : int
        0; 1 after an error, which is printed; 130 after Ctrl-C. Wrong usage exits with 2.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ImportError, OSError, ValueError) as error:
        print(f"skclip {options.command}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        again = shlex.join(arg for arg in arguments if arg != "--overwrite")
        print(f"\ninterrupted; to go on: python -m skclip {again}", file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(prog="skclip", description="CLIP on the command line.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser
