"""`peca-client`: the client's own command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from peca_client.commands.completion import add_completion, complete
from peca_client.commands.ingest import add_ingest
from peca_client.commands.keys import add_keys
from peca_client.commands.look import add_look
from peca_client.commands.search import add_search
from peca_client.commands.watchlists import add_watchlists
from peca_client.errors import PecaClientError
from peca_client.exits import MEANINGS, Exit
from peca_client.watch.command import add_watch

_EXAMPLES = f"""\
begin with:
  export PECA_URL=https://peca.example:8443 PECA_API_KEY=...
  peca-client status
  peca-client ingest crops/ --camera gate-ir --modality infrared
  peca-client search day.jpg --limit 10
  peca-client COMMAND --help

{MEANINGS}"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:
        complete(parser)
    options = parser.parse_args(arguments)
    try:
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has seen enough, as `head` has; the rest is not to be told of when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except (PecaClientError, OSError) as error:
        print(f"peca-client: {error}", file=sys.stderr)
        return Exit.of(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="peca-client",
        description="The client of a PECA server: find people across visible and infrared cameras.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"peca-client {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    adders = (add_look, add_ingest, add_search, add_watchlists, add_watch, add_keys, add_completion)
    for add in adders:
        add(commands)
    return parser


def _version() -> str:
    """Of this distribution, or of the engine's that carries it."""
    for distribution in ("peca-client", "peca"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "of an uninstalled source tree"


if __name__ == "__main__":
    sys.exit(main())
