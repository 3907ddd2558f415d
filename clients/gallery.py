"""`peca gallery`: look after a gallery; none of the commands here needs its encoder."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clients.extras import need
from clients.instants import instant
from clients.moving import copy, reindex
from index.errors import InvalidInput, UnknownCamera
from index.images import FOLDER_NAME
from index.space import Modality

if TYPE_CHECKING:
    from index.embedded.retention import Retention
    from index.records import Where

gallery_app = typer.Typer(
    help="Look after a gallery on the disk: what it holds, whether it is whole, snapshots, erasing.",
    no_args_is_help=True,
)

gallery_app.command()(copy)
gallery_app.command()(reindex)

KEEP, DEFAULT = "keep", "default"

Gallery = Annotated[
    str, typer.Option("--gallery", envvar="PECA_GALLERY", help="Address of the gallery: embedded:FOLDER.")
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="PECA_DATA_DIR",
        file_okay=False,
        show_default="the gallery's folder",
        help="Folder in which images/ lies.",
    ),
]
WithoutImages = Annotated[
    bool,
    typer.Option("--without-images", help="Leave image files out, as for a gallery that keeps none."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Yes = Annotated[bool, typer.Option("--yes", help="Erase; without it, only say what would be erased.")]

DEFAULT_GALLERY = "embedded:peca-data"


@gallery_app.command()
def stats(gallery: Gallery = DEFAULT_GALLERY, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Count what a gallery holds by camera and modality, and what it takes on the disk.

    Runs beside a server.

    Example: peca gallery stats --gallery embedded:site
    """
    from clients.tables import print_gallery, print_json
    from index.embedded.stats import gallery_stats

    folder, images = _folders(gallery, data_dir)
    found = gallery_stats(folder, images)
    if as_json:
        print_json(asdict(found))
    else:
        print_gallery(found, gallery)


@gallery_app.command()
def verify(
    gallery: Gallery = DEFAULT_GALLERY,
    data_dir: DataDir = None,
    check_images: Annotated[
        bool, typer.Option("--check-images", help="Also decode every image file; takes minutes on 100,000.")
    ] = False,
    without_images: WithoutImages = False,
    as_json: AsJson = False,
) -> None:
    """Look for what is damaged or missing, and name each fault; ends with 1 where there is one.

    Checks SQLite's pages, each record, each vector against its checksum, the index file against its own,
    and that each image has its file and each file its image. Changes nothing; runs beside a server.

    Example: peca gallery verify --gallery embedded:site --check-images
    """
    from clients.tables import print_json, print_verification
    from exporter.preprocess import open_image
    from index.embedded.verification import verify_gallery

    if check_images and without_images:
        raise typer.BadParameter("--check-images looks at what --without-images leaves out; give one of them")
    folder, images = _folder(gallery), _image_files(gallery, data_dir, without_images)
    found = verify_gallery(folder, images, open_image if check_images else None)
    if as_json:
        print_json(asdict(found))
    else:
        print_verification(found, gallery, images)
    if found.faults:
        raise typer.Exit(1)


@gallery_app.command()
def snapshot(
    out: Annotated[Path, typer.Option(file_okay=False, help="The snapshot's folder; absent or empty.")],
    gallery: Gallery = DEFAULT_GALLERY,
    data_dir: DataDir = None,
    without_images: WithoutImages = False,
    as_json: AsJson = False,
) -> None:
    """Copy a gallery and its image files as they are at this moment, with the SHA-256 of each file.

    Runs beside a server, which goes on storing and answering. Keys and audit log are not copied. Ends
    with 1 where images have no file: the snapshot is whole but for these pictures, and stays.

    Example: peca gallery snapshot --gallery embedded:site --out /backup/site-monday
    """
    from clients.tables import print_json, size_text
    from index.embedded.snapshot import take_snapshot
    from index.wording import counted

    images = _image_files(gallery, data_dir, without_images)
    taken = take_snapshot(_folder(gallery), images, out)
    if as_json:
        print_json(asdict(taken))
    else:
        print(
            f"{out} holds {counted(taken.images, 'image')} and {counted(taken.image_files, 'image file')}: "
            f"{size_text(taken.total_bytes)}, complete at {taken.made_at}"
        )
    lacking = taken.images - taken.image_files
    if images is not None and lacking:
        typer.echo(
            f"{lacking:,} of {counted(taken.images, 'image')} {'has' if lacking == 1 else 'have'} no file in "
            f"{images}, so {out} lacks {'its picture' if lacking == 1 else 'their pictures'}: name the "
            "server's data folder with --data-dir; peca gallery verify names the images",
            err=True,
        )
        raise typer.Exit(1)


@gallery_app.command()
def restore(
    snapshot: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The snapshot's folder.")],
    gallery: Gallery = DEFAULT_GALLERY,
    data_dir: DataDir = None,
) -> None:
    """Put a snapshot back where no gallery is; every file is checked before one is written.

    The server of that gallery must be stopped.

    Example: peca gallery restore /backup/site-monday --gallery embedded:site
    """
    from index.embedded.snapshot import restore_snapshot
    from index.wording import counted

    folder, images = _folders(gallery, data_dir)
    put_back = restore_snapshot(snapshot, folder, images)
    print(
        f"{gallery} holds {counted(put_back.images, 'image')} of encoder {put_back.encoder}, "
        f"as at {put_back.made_at}"
    )


@gallery_app.command()
def compact(gallery: Gallery = DEFAULT_GALLERY) -> None:
    """Write the gallery's file anew without what was removed, and make the index anew.

    Needs free space for a second copy. The server of the gallery must be stopped.

    Example: peca gallery compact --gallery embedded:site
    """
    need("faiss", "cpu")
    from clients.tables import size_text
    from index.embedded.compaction import compact_gallery

    done = compact_gallery(_folder(gallery))
    before, now = size_text(done.before_bytes), size_text(done.after_bytes)
    print(f"{gallery}: database {before} before, {now} now; index file {size_text(done.index_file_bytes)}")
    if not done.complete:
        _tell_of_a_reader()


@gallery_app.command()
def erase(
    gallery: Gallery = DEFAULT_GALLERY,
    data_dir: DataDir = None,
    person_id: Annotated[
        list[str] | None, typer.Option(help="Images of this identity; may stand several times.")
    ] = None,
    camera_id: Annotated[
        list[str] | None, typer.Option(help="Images of this camera; may stand several times.")
    ] = None,
    image_id: Annotated[list[str] | None, typer.Option(help="This image; may stand several times.")] = None,
    modality: Annotated[Modality | None, typer.Option(help="Images of this light.")] = None,
    after: Annotated[
        datetime | None, typer.Option(parser=instant, metavar="INSTANT", help="Captured then or later.")
    ] = None,
    before: Annotated[
        datetime | None, typer.Option(parser=instant, metavar="INSTANT", help="Captured before then.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Erase images for good: record, vector, index file and image file. Every condition given must hold.

    They go from every generation of the gallery, also from those that reindex left. Without --yes nothing
    is erased. With it, the server of the gallery must be stopped. Snapshots keep what they hold.

    Example: peca gallery erase --gallery embedded:site --person-id p17 --yes
    """
    from index.embedded.store import is_begun
    from index.generations import other_generations
    from index.records import Where

    conditions = (person_id, camera_id, image_id, modality, after, before)
    if all(condition is None for condition in conditions):
        raise typer.BadParameter(
            "say what to erase: --person-id, --camera-id, --image-id, --modality, --after, --before"
        )
    where = Where(
        modality=modality,
        camera_ids=camera_id,
        after=after,
        before=before,
        person_ids=person_id,
        image_ids=image_id,
    )
    folder, images = _folders(gallery, data_dir)
    others = other_generations(_base(gallery))
    if camera_id is not None:
        seen = _cameras(folder, *(other for other in others if is_begun(other)))
        if unknown := sorted(set(camera_id) - seen):
            raise UnknownCamera(
                f"the gallery has never seen {', '.join(unknown)}; "
                f"its cameras are: {', '.join(sorted(seen)) or 'none yet'}"
            )
    _erase(folder, images, [where], yes, others)


@gallery_app.command()
def retention(
    gallery: Gallery = DEFAULT_GALLERY,
    data_dir: DataDir = None,
    camera_id: Annotated[
        list[str] | None, typer.Option(help="The rule is for this camera; may stand several times.")
    ] = None,
    days: Annotated[
        str | None,
        typer.Option(
            metavar="N|keep|default",
            show_default="the rules stay as they are",
            help="Keep images N days from their capture, for ever, or as the rule of all other cameras says.",
        ),
    ] = None,
    yes: Yes = False,
) -> None:
    """Show or set how long images are kept, and erase those kept for longer.

    The rules stand in the gallery: one for all cameras, and one for each that differs. Without --yes
    nothing is erased here; a running server erases by itself what is due. With --yes it must be stopped.

    Example: peca gallery retention --gallery embedded:site --camera-id lobby --days 30
    """
    from clients.tables import print_dated_ahead
    from index.embedded.erasure import erasable
    from index.embedded.locks import is_held
    from index.embedded.retention import read_retention, write_retention
    from index.embedded.store import LOCK_NAME
    from index.generations import other_generations

    folder, images = _folders(gallery, data_dir)
    rules = read_retention(folder)
    if days is not None:
        rules = _changed(rules, camera_id, days)
        write_retention(folder, rules)
    elif camera_id is not None:
        raise typer.BadParameter("--camera-id names whose rule --days sets; give --days, too")
    print(f"all cameras: {_kept(rules.default_days)}")
    seen = _cameras(folder)
    for camera, kept in sorted(rules.camera_days.items()):
        print(f"{camera}: {_kept(kept)}{'' if camera in seen else ' (the gallery holds no image of it)'}")
    now = datetime.now(UTC)
    _erase(folder, images, rules.due(now), yes, other_generations(_base(gallery)))
    print_dated_ahead(erasable(folder, rules.dated_ahead(now)))
    if not yes and is_held(folder / LOCK_NAME):
        print("its server removes by itself what is due, unless its retention_minutes is 0")


def _folder(gallery: str) -> Path:
    """The folder of a gallery on the disk."""
    from index.gallery import embedded_folder, shown_address

    folder = embedded_folder(gallery)
    if folder is None:
        raise InvalidInput(f"expected a gallery on the disk, embedded:FOLDER, got {shown_address(gallery)!r}")
    return folder


def _folders(gallery: str, data_dir: Path | None) -> tuple[Path, Path]:
    """The folder of a gallery on the disk, and that of its image files, which all its generations share."""
    folder = _folder(gallery)
    return folder, (data_dir or _base(gallery)) / FOLDER_NAME


def _image_files(gallery: str, data_dir: Path | None, without_images: bool) -> Path | None:
    """The folder of a gallery's image files, ``None`` where they are left out."""
    if without_images:
        return None
    _, images = _folders(gallery, data_dir)
    _check_image_files(images, "give --without-images")
    return images


def _check_image_files(images: Path, otherwise: str) -> None:
    """Refuse a folder of image files that is none; ``otherwise`` is what to do where none are kept."""
    if not images.is_dir():
        raise InvalidInput(
            f"expected the gallery's image files in {images}, which is no folder; name the server's data "
            f"folder with --data-dir, or {otherwise} if no files are kept"
        )


def _base(gallery: str) -> Path:
    """The folder that the address of a gallery on the disk names."""
    return Path(gallery.removeprefix("embedded:"))


def _cameras(*folders: Path) -> set[str]:
    """The cameras of the images that these generations of a gallery hold."""
    from index.embedded.erasure import erasable
    from index.records import ANY

    return {camera.camera_id for folder in folders for camera in erasable(folder, [ANY])}


def _erase(folder: Path, images: Path, wheres: "list[Where]", yes: bool, others: list[Path]) -> None:
    """Erase, or say what would be erased; ``others`` are the gallery's generations that are not in use."""
    from clients.tables import print_erasable
    from index.embedded.erasure import erasable, erasable_elsewhere, erase_images
    from index.wording import counted

    elsewhere = f"in {counted(len(others), 'generation')} of another encoder"
    if not yes:
        print_erasable(erasable(folder, wheres))
        if count := erasable_elsewhere(folder, others, wheres):
            print(f"{counted(count, 'record')} would be erased with vectors {elsewhere}, too; add --yes")
        return
    _check_image_files(images, "make this one")
    done = erase_images(folder, images, wheres, others)
    print(f"{counted(done.images, 'image')} erased, with {counted(done.image_files, 'file')} in {images}")
    if others:
        print(f"{counted(done.elsewhere, 'record')} erased with vectors {elsewhere}")
    if done.images or done.elsewhere:
        print("snapshots made before still hold what was erased: remove them, or erase after a restore")
    if not done.complete:
        _tell_of_a_reader(", and peca gallery reindex --drop-old" if others else "")


def _tell_of_a_reader(also: str = "") -> None:
    print(
        "a program that reads the gallery keeps SQLite's write-ahead file, which may hold what was erased: "
        f"end it, then run peca gallery compact{also}"
    )
    raise typer.Exit(1)


def _changed(rules: "Retention", camera_ids: list[str] | None, days: str) -> "Retention":
    """The rules with ``--days`` put in for these cameras, or for all."""
    from index.embedded.retention import Retention

    if days == DEFAULT:
        if camera_ids is None:
            raise typer.BadParameter(f"--days {DEFAULT} is for a camera; name it with --camera-id")
        others = {camera: kept for camera, kept in rules.camera_days.items() if camera not in camera_ids}
        return Retention(rules.default_days, others)
    kept = None if days == KEEP else _whole(days)
    if camera_ids is None:
        return Retention(kept, rules.camera_days)
    return Retention(rules.default_days, {**rules.camera_days, **dict.fromkeys(camera_ids, kept)})


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"--days takes a whole number, keep or default, got {text!r}") from None


def _kept(days: int | None) -> str:
    return "kept for ever" if days is None else f"kept {days:,} day{'s' if days != 1 else ''}"
