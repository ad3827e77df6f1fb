"""``python -m bench``: the same as the ``bench`` command, and what ``torchrun -m bench`` starts."""

from bench.cli import main

if __name__ == "__main__":
    main()
