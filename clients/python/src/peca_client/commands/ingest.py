"""`peca-client ingest`: store image files of one camera."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peca_client.commands.connection import add_command, count, instant, open_client
from peca_client.commands.tables import print_json, print_table
from peca_client.exif import captured_at
from peca_client.exits import CommandError, Exit
from peca_client.models import ImageUpload, IngestReport, IngestStatus, Modality

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def add_ingest(commands: Any) -> None:
    """Add ``ingest`` to the subcommands of a parser."""
    parser = add_command(
        commands,
        "ingest",
        "store crops of people by one camera; running it again stores nothing twice",
        "  peca-client ingest crops/ --camera gate-1 --modality visible\n"
        "  peca-client ingest a.jpg b.jpg --camera gate-ir --modality infrared --track t-0815 \\\n"
        "    --captured-at 2026-05-01T23:15:00+02:00",
        ingest,
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="image files, and folders of them"
    )
    parser.add_argument("--camera", required=True, metavar="ID", help="the site's name of the camera")
    lights = [light.value for light in Modality]
    parser.add_argument("--modality", required=True, choices=lights, help="its light")
    parser.add_argument(
        "--captured-at", type=instant, metavar="TIME", help="when [by each file's EXIF, else its own time]"
    )
    parser.add_argument("--track", metavar="ID", help="all show one person, followed through one camera")
    parser.add_argument("--batch", type=count, default=32, metavar="N", help="most images a request [32]")


def ingest(options: argparse.Namespace) -> int:
    """Store the images; returns ``Exit.REFUSED`` where one was not taken."""
    files = _files(options.paths)
    done = 0

    def tell(batch: IngestReport) -> None:
        nonlocal done
        done += len(batch.items)
        if sys.stderr.isatty():
            print(
                f"\r{done} of {len(files)}",
                end="" if done < len(files) else "\n",
                file=sys.stderr,
                flush=True,
            )

    with open_client(options) as client:
        report = client.ingest(_uploads(files, options), options.batch, tell)
    left_out = [one for one in report.items if one.status in (IngestStatus.REFUSED, IngestStatus.CONFLICT)]
    if options.json:
        counts = {status.value: report.count(status) for status in IngestStatus}
        reasons = [{"filename": one.filename, "status": one.status, "reason": one.reason} for one in left_out]
        print_json({**counts, "left_out": reasons})
    else:
        print_table(("status", "images"), [(status, report.count(status)) for status in IngestStatus])
        for one in left_out:
            print(f"{one.status}: {one.filename}: {one.reason}")
    return Exit.REFUSED if left_out else Exit.DONE


def _files(paths: Sequence[Path]) -> list[Path]:
    """The image files that were named, and those in the folders that were named.

    Raises:
        CommandError: One does not exist, or there is none at all.
    """
    files = []
    for path in paths:
        if not path.exists():
            raise CommandError(f"there is no {path}")
        inside = sorted(one for one in path.rglob("*") if one.suffix.lower() in _SUFFIXES)
        files += inside if path.is_dir() else [path]
    if not files:
        raise CommandError(f"no image file ({', '.join(_SUFFIXES)}) in {', '.join(map(str, paths))}")
    return files


def _uploads(files: Sequence[Path], options: argparse.Namespace) -> Iterator[ImageUpload]:
    for path in files:
        try:
            moment = options.captured_at or captured_at(path)
        except OSError:
            moment = datetime.now(UTC)  # it is refused, with the reason, when it is to be sent
        yield ImageUpload(
            path, options.camera, options.modality, moment, track_id=options.track, source=str(path)
        )
