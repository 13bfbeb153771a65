"""Entry point for ``python -m retalkit``, which is equivalent to the command ``retalkit``."""

from retalkit.cli.main import main

if __name__ == "__main__":
    main()
