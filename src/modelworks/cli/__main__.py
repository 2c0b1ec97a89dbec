"""``python -m modelworks.cli``."""

from modelworks.cli import main

if __name__ == "__main__":
    main()
