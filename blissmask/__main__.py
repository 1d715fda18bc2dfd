"""Run ``python -m blissmask``."""

from blissmask.cli.app import main

if __name__ == "__main__":
    main()
