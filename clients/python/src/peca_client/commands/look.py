"""`peca-client status` and `peca-client cameras`: what a server is and holds."""

import argparse
from dataclasses import asdict
from typing import Any

from peca_client.commands.connection import add_command, open_client
from peca_client.commands.tables import print_json, print_table
from peca_client.exits import Exit


def add_look(commands: Any) -> None:
    """Add both to the subcommands of a parser."""
    add_command(
        commands,
        "status",
        "say whether a server can search now, what it searches with, and whether it takes the key",
        "  peca-client status --url https://peca.example:8443\n"
        "  until peca-client status --json > status.json; do sleep 1; done",
        status,
    )
    add_command(
        commands,
        "cameras",
        "list the cameras of the gallery, with their images and times",
        "  peca-client cameras\n  peca-client cameras --json | jq '.[].camera_id'",
        cameras,
    )


def status(options: argparse.Namespace) -> int:
    """Ask a server; returns ``Exit.LATER`` where it cannot search yet."""
    known: dict[str, Any] = {}
    with open_client(options, needs_key=False) as client:
        readiness = client.ready()
        if readiness.ready:
            if options.api_key:
                client.check_key()
            known = {**asdict(client.version()), "key": "taken" if options.api_key else None}
    if options.json:
        print_json({**asdict(readiness), **known})
    else:
        print(f"ready at {options.url}" if readiness.ready else f"not ready: {readiness.detail}")
        if known:
            print_table(("what", "value"), list(known.items()))
    return Exit.DONE if readiness.ready else Exit.LATER


def cameras(options: argparse.Namespace) -> int:
    """List the cameras that the key may see."""
    with open_client(options) as client:
        found = client.cameras()
    if options.json:
        print_json(found)
        return Exit.DONE
    rows = [
        (one.camera_id, one.modality, one.count, one.first_captured_at, one.last_captured_at) for one in found
    ]
    print_table(("camera", "light", "images", "first", "last"), rows)
    return Exit.DONE
