"""``python -m mininet`` is the command line ``mininet``."""

from mininet.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
