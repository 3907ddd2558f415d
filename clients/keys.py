"""`peca keys`: who may ask a server, and for what; the commands work on its data folder."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from clients.data_folder import DataDir, data_folder
from clients.instants import instant
from server.access import Role

if TYPE_CHECKING:
    from server.keys import StoredKey

keys_app = typer.Typer(
    help="Make, list, revoke and rotate the API keys of a server's data folder.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Who or what holds the key.")]


@keys_app.command()
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Who or what holds the key: one person, or one device.")
    ],
    role: Annotated[Role, typer.Option(help="What the key is for.")],
    camera_id: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Only this camera; may stand several times. For camera and operator keys."
        ),
    ] = None,
    gallery: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Only servers whose setting gallery_name is this; may stand several times."
        ),
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(
            parser=instant, metavar="INSTANT", help="Refused from then on, e.g. 2027-01-01T00:00:00Z."
        ),
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, show_default="the server's", help="Its own rate limit.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it once; a running server takes it at once.

    Roles: camera adds images; operator searches, sees images and gives verdicts; auditor reads the
    audit log; admin may do everything. A name is given once and never again, since the audit log
    tells people apart by it.

    Example: peca keys create "gate 1" --role camera --camera-id gate-1
    """
    from server.keyring import KeyRing

    key, stored = KeyRing(data_folder(data_dir)).create(
        name,
        role,
        camera_ids=camera_id or None,
        galleries=gallery or None,
        expires_at=expires,
        requests_per_minute=requests_per_minute,
    )
    _print_key(key, stored)


@keys_app.command("list")
def list_keys(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the keys, the revoked and expired ones too; a key itself is never kept and cannot be shown.

    Example: peca keys list --data-dir site
    """
    from clients.tables import print_json
    from server.keyring import KeyRing

    keys = KeyRing(data_folder(data_dir)).stored()
    if as_json:
        print_json({"items": [key.as_json() for key in keys]})
    else:
        _print_keys(keys)


@keys_app.command()
def revoke(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Also where no admin key would be left.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Refuse the key of NAME and its browser sessions from now on, and end its watchlists.

    The last admin key that can be used is kept, unless --force is given.

    Example: peca keys revoke "gate 1"
    """
    from server.keyring import KeyRing

    for key in KeyRing(data_folder(data_dir)).revoke(name, force=force):
        print(f"revoked: key {key.key_id} of {key.name}")


@keys_app.command()
def rotate(
    name: Name,
    overlap_hours: Annotated[float, typer.Option(min=0, help="How long the old key is still taken.")] = 0.0,
    data_dir: DataDir = None,
) -> None:
    """Replace the key of NAME by a new one of the same role, limits and expiry, and print it once.

    Example: peca keys rotate "gate 1" --overlap-hours 24
    """
    from server.keyring import KeyRing

    _print_key(*KeyRing(data_folder(data_dir)).rotate(name, timedelta(hours=overlap_hours)))


def _print_key(key: str, stored: "StoredKey") -> None:
    """Plain print, since a terminal library may wrap or colour what is to be copied."""
    print(f"{stored.role} key of {stored.name} (shown once): {key}")


def _print_keys(keys: Sequence["StoredKey"]) -> None:
    from clients.tables import console

    columns = ("name", "role", "state", "cameras", "galleries", "a minute", "made (UTC)", "key id")
    table = Table(*(Column(column, overflow="fold") for column in columns))
    for key in keys:
        rate = "" if key.requests_per_minute is None else str(key.requests_per_minute)
        limits = (_named(key.camera_ids), _named(key.galleries))
        cells = (key.name, key.role, _state(key), *limits, rate, _minute(key.created_at), key.key_id)
        # Text, since rich would read [..] in a name as mark-up.
        table.add_row(*map(Text, cells))
    console().print(table)


def _named(limit: Collection[str] | None) -> str:
    return "all" if limit is None else ", ".join(sorted(limit))


def _state(key: "StoredKey") -> str:
    if key.revoked_at is not None:
        return f"revoked {_minute(key.revoked_at)}"
    if key.expires_at is None:
        return "in use"
    return f"{'expires' if key.usable(datetime.now(UTC)) else 'expired'} {_minute(key.expires_at)}"


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"
