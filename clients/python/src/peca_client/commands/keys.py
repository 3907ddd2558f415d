"""`peca-client keys`: who may ask a server, and for what; for its admins, from any machine."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from peca_client.client import PecaClient
from peca_client.commands.connection import add_command, add_group, count, instant, open_client
from peca_client.commands.tables import moment_text, print_json, print_table
from peca_client.exits import CommandError, Exit
from peca_client.keys import ApiKey

_ROLES = ("camera", "operator", "auditor", "admin")


def add_keys(commands: Any) -> None:
    """Add ``keys`` with its own commands to the subcommands of a parser."""
    keys = add_group(
        commands,
        "keys",
        "list, make, replace and revoke the keys of a server; needs an admin's key",
        "  peca-client keys list\n"
        "  peca-client keys create 'gate ir agent' --role camera --camera gate-ir\n"
        "  peca-client keys revoke Ada",
    )
    add_command(
        keys,
        "list",
        "list every key ever made at the server, oldest first; a key itself cannot be shown again",
        "  peca-client keys list\n"
        "  peca-client keys list --json | jq '.[] | select(.revoked_at == null) | .name'",
        list_keys,
    )
    _add_create(keys)
    _add_rotate(keys)
    add_command(
        keys,
        "revoke",
        "refuse the keys of a holder, or one key by its id, from now on; their watchlists end",
        "  peca-client keys revoke Ada\n  peca-client keys revoke 1f0c7a52",
        revoke,
    ).add_argument("holder", metavar="HOLDER", help="the holder's name, or a key's id")


def _add_create(keys: Any) -> None:
    parser = add_command(
        keys,
        "create",
        "make a key, and print it this once",
        "  peca-client keys create 'gate ir agent' --role camera --camera gate-ir\n"
        "  peca-client keys create Ada --role operator --expires 2027-01-01T00:00:00Z",
        create,
    )
    parser.add_argument(
        "name", metavar="NAME", help="the one person or device that holds it; given once, never again"
    )
    parser.add_argument("--role", required=True, choices=_ROLES, help="what it is for")
    parser.add_argument(
        "--camera", action="append", metavar="ID", help="only this camera; may stand several times"
    )
    parser.add_argument(
        "--gallery",
        action="append",
        metavar="NAME",
        help="only servers whose setting gallery_name is this; may stand several times",
    )
    parser.add_argument("--expires", type=instant, metavar="TIME", help="refused from then on")
    parser.add_argument(
        "--requests-per-minute", type=count, metavar="N", help="its own rate limit [the server's]"
    )


def _add_rotate(keys: Any) -> None:
    parser = add_command(
        keys,
        "rotate",
        "replace the keys of a holder by a new one of the same role, limits and expiry, printed this once",
        "  peca-client keys rotate 'gate ir agent' --overlap-hours 24",
        rotate,
    )
    parser.add_argument("holder", metavar="HOLDER", help="the holder's name, or a key's id")
    parser.add_argument(
        "--overlap-hours", type=_hours, default=0.0, metavar="H", help="how long the old one is taken yet [0]"
    )


def list_keys(options: argparse.Namespace) -> int:
    """List the keys, those that were revoked or have expired too."""
    with open_client(options) as client:
        found = client.list_keys()
    if options.json:
        print_json(found)
        return Exit.DONE
    rows = [
        (
            one.name,
            one.role,
            _state(one),
            _only(one.camera_ids),
            _only(one.galleries),
            one.requests_per_minute,
            one.created_at,
            one.key_id,
        )
        for one in found
    ]
    print_table(("holder", "role", "state", "cameras", "galleries", "a minute", "made", "key id"), rows)
    return Exit.DONE


def create(options: argparse.Namespace) -> int:
    """Make a key."""
    with open_client(options) as client:
        made = client.create_key(
            options.name,
            options.role,
            camera_ids=options.camera,
            expires_at=options.expires,
            requests_per_minute=options.requests_per_minute,
            galleries=options.gallery,
        )
    return _show(made, options)


def rotate(options: argparse.Namespace) -> int:
    """Replace a key; of several that a holder has, the server goes by the newest."""
    with open_client(options) as client:
        made = client.rotate_key(_usable(client, options.holder)[-1].key_id, options.overlap_hours)
    return _show(made, options)


def revoke(options: argparse.Namespace) -> int:
    """Refuse the keys of a holder."""
    with open_client(options) as client:
        ended = _usable(client, options.holder)
        for one in ended:
            client.revoke_key(one.key_id)
    if options.json:
        print_json({"revoked": [one.key_id for one in ended]})
    else:
        for one in ended:
            print(f"revoked: key {one.key_id} of {one.name}")
    return Exit.DONE


def _usable(client: PecaClient, holder: str) -> Sequence[ApiKey]:
    """The keys of a holder that were not revoked, or the one of this id, oldest first.

    Raises:
        CommandError: There is none.
    """
    known = client.list_keys()
    found = [one for one in known if one.key_id == holder] or [one for one in known if one.name == holder]
    usable = [one for one in found if one.revoked_at is None]
    if not usable:
        what = (
            "every key of it is revoked already" if found else "there is no such holder, and no such key id"
        )
        raise CommandError(f"{holder}: {what}; peca-client keys list shows all")
    return sorted(usable, key=lambda one: one.created_at)


def _show(made: ApiKey, options: argparse.Namespace) -> int:
    if options.json:
        print_json(made)
    else:
        print(f"{made.role} key of {made.name} (shown once): {made.key}")
    return Exit.DONE


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {moment_text(key.revoked_at)}"
    if key.expires_at is None:
        return "in use"
    return f"{'expires' if key.expires_at > datetime.now(UTC) else 'expired'} {moment_text(key.expires_at)}"


def _only(names: Sequence[str] | None) -> str:
    return "all" if names is None else ", ".join(sorted(names))


def _hours(text: str) -> float:
    if not 0 <= (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"expected hours from 0, got {text}")
    return number
