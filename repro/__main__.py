"""``python -m repro``."""

import sys

if not sys.flags.safe_path:
    # Python puts the working directory first, where a file named json.py or select.py would be taken for the library's.
    sys.path.append(sys.path.pop(0))

from repro.cli import main

if __name__ == "__main__":
    main()
