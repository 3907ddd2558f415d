"""`peca-client search`: find the person of an image in the other modality."""

import argparse
from typing import Any

from peca_client.commands.connection import add_command, cosine, count, instant, open_client
from peca_client.commands.tables import print_json, print_table
from peca_client.exits import Exit
from peca_client.models import AUTO, Modality, SearchResult


def add_search(commands: Any) -> None:
    """Add ``search`` to the subcommands of a parser."""
    parser = add_command(
        commands,
        "search",
        "find the person of one or several images in the other modality, best match first",
        "  peca-client search day.jpg --limit 10 --case 2026-17 --reason 'missing child'\n"
        "  peca-client search front.jpg back.jpg --modality visible --by-track\n"
        "  peca-client search --image-id img-f032659b28f7 --after 2026-05-01T18:00:00Z --json",
        search,
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="crops of one person, searched as one")
    parser.add_argument("--image-id", metavar="ID", help="search by this stored image, in place of IMAGE")
    lights = [light.value for light in Modality]
    parser.add_argument(
        "--modality",
        choices=[*lights, AUTO],
        default=AUTO,
        help="the light of the crops; auto judges each by its content [auto]",
    )
    parser.add_argument("--in", dest="within", choices=lights, help="where to look [the other modality]")
    parser.add_argument("--limit", type=count, default=20, metavar="N", help="most results [20]")
    parser.add_argument(
        "--camera", action="append", metavar="ID", help="only this one; may stand several times"
    )
    parser.add_argument("--exclude-camera", action="append", metavar="ID", help="not this one; as above")
    parser.add_argument("--after", type=instant, metavar="TIME", help="captured then or later")
    parser.add_argument("--before", type=instant, metavar="TIME", help="captured before then")
    parser.add_argument("--threshold", type=cosine, metavar="COSINE", help="least score of a result")
    parser.add_argument("--by-track", action="store_true", help="of each track only the best image")
    parser.add_argument("--rerank", action="store_true", help="order the best by the neighbours they share")
    parser.add_argument("--case", help="the case, for the audit log")
    parser.add_argument("--reason", help="why you search, for the audit log")
    parser.set_defaults(refuse=parser.error)


def search(options: argparse.Namespace) -> int:
    """Search, and print what was found."""
    if bool(options.images) == (options.image_id is not None):
        options.refuse("expected IMAGE, or a stored image by --image-id, and not both")
    chosen: dict[str, Any] = {
        "gallery_modality": options.within,
        "limit": options.limit,
        "camera_ids": options.camera,
        "exclude_camera_ids": options.exclude_camera,
        "after": options.after,
        "before": options.before,
        "score_threshold": options.threshold,
        "group_by": "track_id" if options.by_track else None,
        "rerank": options.rerank,
        "case": options.case,
        "reason": options.reason,
    }
    with open_client(options) as client:
        if options.image_id is None:
            result = client.search(options.images, options.modality, **chosen)
        else:
            result = client.search_by_image(options.image_id, **chosen)
    if options.json:
        print_json(result)
    else:
        _print(result)
    return Exit.DONE


def _print(result: SearchResult) -> None:
    if not result.items:
        print(
            f"nothing found in {result.gallery_modality} images; search {result.search_id}\n"
            "see what the gallery holds by: peca-client cameras"
        )
    else:
        _print_hits(result)
    for number, light in enumerate(result.query_modalities, start=1):
        if light.detected:
            print(f"image {number} was taken for {light.modality} by its content; if wrong, say --modality")


def _print_hits(result: SearchResult) -> None:
    rows = [
        (hit.rank, hit.score, hit.image_id, hit.camera_id, hit.captured_at, hit.track_id, hit.group_size)
        for hit in result.items
    ]
    print_table(("rank", "score", "image", "camera", "captured", "track", "images"), rows)
    order = ", ordered by shared neighbours" if result.reranked else ""
    print(f"\n{len(rows)} found in {result.gallery_modality} images{order}; search {result.search_id}")
