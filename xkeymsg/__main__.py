"""Entry point of `python -m xkeymsg`."""

from __future__ import annotations

from xkeymsg.cli.__main__ import main

if __name__ == "__main__":
    main()
