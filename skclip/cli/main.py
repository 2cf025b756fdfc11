"""The entry point of ``skclip`` and of ``python -m skclip``.

Each command is a file of this folder with two functions: ``add_parser(commands)`` adds the command
and its options, and ``run(options)`` returns the exit code.
"""

import argparse
import shlex
import sys

from skclip.cli import embed
from skclip.encode.bulk.interrupts import RunInterrupted

COMMANDS = (embed,)


def main(arguments=None):
    """Run the command that the arguments name.

    Parameters
    ----------
    arguments : list of str or None, default=None
        The command and its options; None means those of the process.

    Returns
    -------
    code : int
        0 after success; 1 after an error, which is printed in one line; 130 after Ctrl-C
        or SIGTERM.

    Raises
    ------
    SystemExit
        With code 2 if the arguments are wrong, with code 0 after ``--help`` and ``--version``.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ImportError, OSError, ValueError) as error:
        print(f"skclip {options.command}: error: {error}", file=sys.stderr)
        return 1
    except RunInterrupted as interrupt:
        # with --overwrite the command would start again instead
        again = shlex.join(arg for arg in arguments if arg != "--overwrite")
        print(
            f"\ninterrupted: {interrupt}; to resume, run: python -m skclip {again}",
            file=sys.stderr,
        )
    except KeyboardInterrupt:
        print("\ninterrupted before the first image; nothing was changed", file=sys.stderr)
    return 130


def _parser():
    parser = argparse.ArgumentParser(
        prog="skclip", description="CLIP for scikit-learn, on the command line."
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


class _ShowVersion(argparse.Action):
    """Look up the version only when it is asked for, since that takes longer than all the rest."""

    def __call__(self, parser, namespace, values, option_string=None):
        from importlib.metadata import version

        print(f"skclip {version('skclip')}")
        parser.exit()
