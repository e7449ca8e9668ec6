"""`python -m i4d` is the same as `i4d`."""

from i4d.cli import main

if __name__ == "__main__":
    main()
