"""`peca-client watchlists`: look out for a person in what the cameras send from now on, and hear of hits."""

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from peca_client.client import PecaClient
from peca_client.commands.connection import add_command, add_group, cosine, count, instant, open_client
from peca_client.commands.tables import moment_text, print_json, print_json_line, print_row, print_table
from peca_client.errors import PecaClientError
from peca_client.exits import Exit
from peca_client.models import AUTO, Modality
from peca_client.pages import each
from peca_client.watchlists import WatchHit

_AGAIN_S = 3.0
_LARGEST_PAGE = 200


def add_watchlists(commands: Any) -> None:
    """Add ``watchlists`` with its own commands to the subcommands of a parser."""
    watchlists = add_group(
        commands,
        "watchlists",
        "look out for a person in whatever the cameras send from now on",
        "  peca-client watchlists add front.jpg back.jpg --name 'red coat' --threshold 0.6 --case 2026-17\n"
        "  peca-client watchlists events\n"
        "  peca-client watchlists list",
    )
    add_command(
        watchlists,
        "list",
        "list your watchlists, newest first; an admin's key lists everyone's",
        "  peca-client watchlists list\n  peca-client watchlists list --json | jq '.[].watchlist_id'",
        list_watchlists,
    )
    _add_add(watchlists)
    _add_hits(watchlists)
    _add_resend(watchlists)
    _add_events(watchlists)
    add_command(
        watchlists,
        "delete",
        "erase a watchlist with its images and its hits",
        "  peca-client watchlists delete 0b8e4b9c-5a0f-4f3f-9d58-0b1f4f5a9a37",
        delete,
    ).add_argument("watchlist", metavar="ID", help="the watchlist's id")


def _add_add(watchlists: Any) -> None:
    parser = add_command(
        watchlists,
        "add",
        "compare each image that is stored from now on with a person",
        "  peca-client watchlists add day.jpg --name 'red coat' --threshold 0.6 --case 2026-17 \\\n"
        "    --reason 'missing child' --expires 2026-05-08T18:00:00Z",
        add,
    )
    lights = [light.value for light in Modality]
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="crops of one person")
    parser.add_argument("--name", required=True, help="what you call it")
    parser.add_argument(
        "--threshold",
        required=True,
        type=cosine,
        metavar="COSINE",
        help="least score of a hit; choose it by a search with the same images",
    )
    parser.add_argument(
        "--modality", choices=[*lights, AUTO], default=AUTO, help="the light of the crops [auto]"
    )
    parser.add_argument("--in", dest="within", choices=lights, help="where to look [the other modality]")
    parser.add_argument(
        "--camera", action="append", metavar="ID", help="only this one; may stand several times"
    )
    parser.add_argument(
        "--expires", type=instant, metavar="TIME", help="when it ends [as late as the server lets it]"
    )
    parser.add_argument("--webhook-url", metavar="URL", help="where hits are sent too, signed")
    parser.add_argument("--case", help="the case, for the audit log")
    parser.add_argument("--reason", help="why you watch, for the audit log")


def _add_hits(watchlists: Any) -> None:
    parser = add_command(
        watchlists,
        "hits",
        "list the hits of a watchlist, or of all that the key may see, newest first",
        "  peca-client watchlists hits --limit 20\n"
        "  peca-client watchlists hits 0b8e4b9c-5a0f-4f3f-9d58-0b1f4f5a9a37 --dead",
        hits,
    )
    parser.add_argument("watchlist", nargs="?", metavar="ID", help="only of the watchlist of this id")
    parser.add_argument("--limit", type=count, default=100, metavar="N", help="most hits [100]")
    parser.add_argument("--dead", action="store_true", help="only those whose webhook was given up")


def _add_resend(watchlists: Any) -> None:
    parser = add_command(
        watchlists,
        "resend",
        "send the hits again whose webhook was given up, as after an outage of its receiver",
        "  peca-client watchlists resend 0b8e4b9c-5a0f-4f3f-9d58-0b1f4f5a9a37\n"
        "  peca-client watchlists resend 0b8e4b9c-5a0f-4f3f-9d58-0b1f4f5a9a37 --event 41 --event 42",
        resend,
    )
    parser.add_argument("watchlist", metavar="ID", help="the watchlist's id")
    parser.add_argument(
        "--event", action="append", type=count, metavar="N", help="only this hit; may stand several times"
    )


def _add_events(watchlists: Any) -> None:
    parser = add_command(
        watchlists,
        "events",
        "print hits as they come, until Ctrl-C; connects again by itself and misses none meanwhile",
        "  peca-client watchlists events\n"
        '  peca-client watchlists events --json | while read -r hit; do notify-send "$hit"; done\n'
        "  peca-client watchlists events --after 42 --count 1",
        events,
    )
    parser.add_argument(
        "--after", type=int, metavar="N", help="begin after the hit of this event number [from now on]"
    )
    parser.add_argument("--count", type=count, metavar="N", help="end after so many hits")


def list_watchlists(options: argparse.Namespace) -> int:
    """List the watchlists that the key may see."""
    with open_client(options) as client:
        found = client.watchlists()
    if options.json:
        print_json(found)
        return Exit.DONE
    rows = [
        (
            one.watchlist_id,
            one.name,
            one.made_by,
            "yes" if one.live else "no",
            one.gallery_modality,
            "all" if one.camera_ids is None else ", ".join(one.camera_ids),
            one.threshold,
            one.hits,
            one.case,
            one.expires_at,
        )
        for one in found
    ]
    heads = ("watchlist", "name", "made by", "live", "light", "cameras", "least", "hits", "case", "ends")
    print_table(heads, rows)
    return Exit.DONE


def add(options: argparse.Namespace) -> int:
    """Make a watchlist."""
    with open_client(options) as client:
        made = client.watch(
            options.images,
            options.modality,
            options.name,
            options.threshold,
            gallery_modality=options.within,
            camera_ids=options.camera,
            case=options.case,
            reason=options.reason,
            expires_at=options.expires,
            webhook_url=options.webhook_url,
        )
    if options.json:
        print_json(made)
        return Exit.DONE
    print(
        f"watchlist {made.watchlist_id} looks for {made.name} in {made.gallery_modality} images "
        f"until {moment_text(made.expires_at)}"
    )
    if made.webhook_secret is not None:
        print(f"secret of its webhook (shown once): {made.webhook_secret}")
    return Exit.DONE


def hits(options: argparse.Namespace) -> int:
    """List what passed the threshold of a watchlist, or of all of them."""
    with open_client(options) as client:
        page = min(options.limit, _LARGEST_PAGE)
        webhook = "dead" if options.dead else None
        if options.watchlist is None:
            listed = each(client.hits, limit=page, webhook=webhook)
        else:
            listed = each(client.watchlist_hits, options.watchlist, limit=page, webhook=webhook)
        found: list[WatchHit] = list(islice(listed, options.limit))
    if options.json:
        print_json(found)
    else:
        rows = [
            (hit.event_id, hit.score, hit.image_id, hit.camera_id, hit.captured_at, hit.name) for hit in found
        ]
        print_table(("event", "score", "image", "camera", "captured", "watchlist"), rows)
    return Exit.DONE


def resend(options: argparse.Namespace) -> int:
    """Have webhooks called again."""
    with open_client(options) as client:
        sent = client.resend_hits(options.watchlist, options.event)
    if options.json:
        print_json({"count": sent})
    else:
        print(f"to be sent again: {sent} of the hits whose webhook was given up")
    return Exit.DONE


def events(options: argparse.Namespace) -> int:
    """Print hits as they come, until so many came or Ctrl-C."""
    with open_client(options) as client:
        try:
            for hit in islice(_heard(client, options.after), options.count):
                if options.json:
                    print_json_line(hit)
                else:
                    print_row(
                        (hit.event_id, hit.captured_at, hit.score, hit.name, hit.camera_id, hit.image_id)
                    )
        except KeyboardInterrupt:
            return Exit.DONE
    return Exit.DONE


def delete(options: argparse.Namespace) -> int:
    """Erase a watchlist."""
    with open_client(options) as client:
        client.remove_watchlist(options.watchlist)
    if options.json:
        print_json({"deleted": options.watchlist})
    else:
        print(f"deleted: watchlist {options.watchlist}")
    return Exit.DONE


def _heard(client: PecaClient, after: int | None) -> Iterator[WatchHit]:
    """Hits without an end: an outage of the server is waited for, and made up for."""
    last = _newest(client) if after is None else after
    while True:
        try:
            for hit in client.events(after=last):
                last = hit.event_id
                yield hit
        except PecaClientError as error:
            if Exit.of(error) is not Exit.LATER:
                raise
            print(f"peca-client: {error}; listens again in {_AGAIN_S:.0f} s", file=sys.stderr, flush=True)
        time.sleep(_AGAIN_S)


def _newest(client: PecaClient) -> int:
    """Of the hits there are; from it on the stream can be taken up again, whenever it breaks."""
    return next((hit.event_id for hit in each(client.hits)), 0)
