"""``python -m skclip``."""

import sys

from skclip.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
