"""`python -m afdaemon`: the command `afdaemon`, also where no script was installed."""

from afdaemon.cli.daemon import main

if __name__ == "__main__":
    main()
