"""``python -m quicklime`` is ``quicklime``."""

from quicklime.cli import main

if __name__ == "__main__":
    main()
