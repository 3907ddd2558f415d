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


def open_client(options: argparse.Namespace, *, needs_key: bool = True) -> PecaClient:
    """A client by the options; refuses as ``check_server``."""
    check_server(options, needs_key=needs_key)
    return PecaClient(options.url, options.api_key or None, timeout_s=options.timeout)


def check_server(options: argparse.Namespace, *, needs_key: bool = True) -> None:
    """Find out before anything is done whether it is said whom to ask.

    Raises:
        CommandError: No server was named, or no key though one is needed.
    """
    if not options.url:
        raise CommandError("no server: give --url, or set PECA_URL")
    if needs_key and not options.api_key:
        raise CommandError(
            "no key: give --api-key, or set PECA_API_KEY; the server's administrator makes keys"
        )


def instant(text: str) -> datetime:
    """An instant from ISO 8601 with a time zone, for argparse."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a time as 2026-05-01T22:00:00Z, got {text}") from None
    if moment.utcoffset() is None:
        whole = moment.isoformat()
        raise argparse.ArgumentTypeError(f"expected a time zone, as in {whole}Z or {whole}+02:00")
    return moment


def count(text: str) -> int:
    """A number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text}")
    return int(text)


def cosine(text: str) -> float:
    """A cosine similarity, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -1 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a cosine similarity from -1 to 1, got {text}")
    return value


def _seconds(text: str) -> float:
    if not 0 < (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return number
