"""`peca-client`: the client's own command line."""

import argparse
import sys
from collections.abc import Sequence

from peca_client.errors import PecaClientError
from peca_client.watch.command import FAILED, add_watch


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="peca-client", description="The client of a PECA server.")
    add_watch(parser.add_subparsers(metavar="COMMAND", required=True))
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except PecaClientError as error:
        print(f"peca-client: {error}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
