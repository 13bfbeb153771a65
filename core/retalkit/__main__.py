"""``python -m retalkit`` is the command ``retalkit``."""

from retalkit.cli.main import main

if __name__ == "__main__":
    main()
