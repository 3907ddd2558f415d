"""What every command that asks a server has: its place in the help, the server's options, JSON."""

import argparse
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any

from peca_client.client import PecaClient
from peca_client.exits import MEANINGS, CommandError


def add_command(
    commands: Any, name: str, words: str, examples: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """A subcommand with examples in its help and the options of the server."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=words,
        description=f"{words[0].upper()}{words[1:]}.",
        epilog=f"examples:\n{examples}\n\n{MEANINGS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_server(parser).add_argument(
        "--timeout", type=_seconds, default=60.0, metavar="S", help="longest wait for one answer [60]"
    )
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")
    parser.set_defaults(run=run)
    return parser


def add_group(commands: Any, name: str, words: str, examples: str) -> Any:
    """A subcommand that has subcommands of its own, which are added to what is given back."""
    parser = commands.add_parser(
        name,
        help=words,
        description=f"{words[0].upper()}{words[1:]}.",
        epilog=f"examples:\n{examples}\n\n{MEANINGS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser.add_subparsers(metavar="COMMAND", required=True)


def add_server(parser: argparse.ArgumentParser) -> Any:
    """Add the options that say where the server is; gives their group of the help."""
    server = parser.add_argument_group("server")
    server.add_argument("--url", default=os.environ.get("PECA_URL"), help="its address [PECA_URL]")
    server.add_argument("--api-key", default=os.environ.get("PECA_API_KEY"), help="the key [PECA_API_KEY]")
    return server


def open_client(options: argparse.Namespace) -> PecaClient:
    """A client by the options.

    Raises:
        CommandError: No server was named.
    """
    if not options.url:
        raise CommandError("no server: give --url, or set PECA_URL")
    return PecaClient(options.url, options.api_key, timeout_s=options.timeout)


def instant(text: str) -> datetime:
    """An instant from ISO 8601 with a time zone, for argparse."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a time as 2026-05-01T22:00:00Z, got {text}") from None
    if moment.utcoffset() is None:
        raise argparse.ArgumentTypeError(f"expected a time zone, as in {text}Z or {text}+02:00")
    return moment


def count(text: str) -> int:
    """A number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text}")
    return int(text)


def _seconds(text: str) -> float:
    if not 0 < (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return number
