"""``python -m arbpipe``."""

from arbpipe.cli import main

if __name__ == "__main__":
    main()
