"""`peca gallery copy` and `reindex`: a gallery moved to another engine, or to another encoder."""

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clients.extras import need
from clients.progress import progress_bar
from index.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from index.copying import CopyReport
    from index.reindex import NewEncoder
    from index.space import EmbeddingSpec
    from index.switching import ReindexReport

ADDRESS = "embedded:FOLDER, milvus:HOST:PORT or milvus:FILE.db"
_NAMED = 20


def copy(
    source: Annotated[str, typer.Argument(help=f"Address of the gallery to copy: {ADDRESS}.")],
    target: Annotated[str, typer.Argument(help="Address of the copy; absent, or left by a copy before.")],
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror",
            help="Also remove from the target what the source does not hold, and replace what differs.",
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --mirror: do it; without it, only say what would be done.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Copy a gallery into another engine or place, and compare every record and vector.

    Runs beside a server of the source; one that was broken off is resumed. Ends with 1 where the two
    differ. Nothing is removed from the target but with --mirror and --yes. Image files are not copied:
    they stay in the server's data folder.

    Example: peca gallery copy embedded:site milvus:db1:19530
    """
    from clients.tables import print_json
    from index.copying import copy_gallery
    from index.gallery import open_gallery, open_source, shown_address, stored_spec

    names = shown_address(source), shown_address(target)
    spec = stored_spec(source)
    if spec is None:
        raise InvalidInput(f"there is no gallery at {names[0]} to copy")
    if yes and not mirror:
        raise typer.BadParameter("--yes goes with --mirror; a copy without --mirror removes nothing")
    if target == "memory:" or _same_place(source, target):
        raise InvalidInput(f"expected another gallery that lasts to copy into, got {names[1]}")
    if mirror and not yes:
        _say_difference(source, target, spec)
        return
    with (
        closing(open_source(source, spec)) as read,
        closing(open_gallery(target, spec)) as written,
        progress_bar() as bar,
    ):
        task = bar.add_task("Copying, then comparing", total=2 * read.count())
        report = copy_gallery(read, written, lambda images: bar.advance(task, images), mirror=mirror)
    if as_json:
        print_json(asdict(report))
    else:
        _print_copy(report, *names, spec.encoder)
    if report.fault_count:
        raise typer.Exit(1)
    _carry_rules(source, target)


def reindex(
    gallery: Annotated[
        str, typer.Option("--gallery", envvar="PECA_GALLERY", help=f"Address of the gallery: {ADDRESS}.")
    ] = "embedded:peca-data",
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            envvar="PECA_DATA_DIR",
            file_okay=False,
            show_default="the gallery's folder; peca-data for Milvus",
            help="Folder in which images/ lies.",
        ),
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder of the new encoder's bundle."),
    ] = None,
    provider: Annotated[str, typer.Option(help="What runs it: auto, cpu, openvino, cuda, ...")] = "auto",
    without_missing: Annotated[
        bool,
        typer.Option(
            "--without-missing",
            help="Switch even if images could not be embedded; they stay in the old generation only.",
        ),
    ] = False,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Remove the generations that are not in use, for good.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Embed the stored images by another encoder, then switch the gallery to it at once.

    Runs beside a server of the old encoder, which goes on answering; a run that was broken off is resumed.
    Images whose file is missing or damaged are named, and nothing is switched without --without-missing.
    The old generation stays until --drop-old. Ends with 1 where something is still to be done.

    Example: peca gallery reindex --gallery embedded:site --encoder bundles/new
    """
    from clients.tables import print_json
    from index import switching
    from index.gallery import shown_address
    from index.wording import counted

    if (encoder is None) != drop_old:
        raise typer.BadParameter("say what to do: --encoder BUNDLE, or --drop-old")
    if encoder is None:
        dropped = switching.drop_old(gallery)
        count = counted(len(dropped), "old generation")
        print(f"{count} of {shown_address(gallery)} removed", *dropped, sep="\n  ")
        return
    from index.images import FOLDER_NAME

    need("onnxruntime", "cpu")
    images = (data_dir or _data_folder(gallery)) / FOLDER_NAME
    if not images.is_dir():
        raise InvalidInput(
            f"expected the gallery's image files in {images}, which is no folder; name the server's data "
            "folder with --data-dir"
        )
    with progress_bar() as bar:
        task = bar.add_task("Embedding", total=_count(gallery))
        report = switching.reindex(
            gallery,
            images,
            _new_encoder(encoder, provider),
            without_left=without_missing,
            progress=lambda looked_at: bar.advance(task, looked_at),
        )
    if as_json:
        print_json(asdict(report))
    else:
        _print_reindex(report, shown_address(gallery), encoder)
    if report.waits_for is not None:
        raise typer.Exit(1)


def _new_encoder(bundle: Path, provider: str) -> "NewEncoder":
    from exporter.preprocess import load_image
    from exporter.runtime import load_encoder
    from index.reindex import NewEncoder

    encoder = load_encoder(bundle, provider)
    return NewEncoder(encoder.spec, lambda data: load_image(data, encoder.image_hw), encoder.encode)


def _data_folder(gallery: str) -> Path:
    """Where a server of this gallery keeps its image files by default."""
    from index.gallery import is_milvus

    return Path("peca-data") if is_milvus(gallery) else Path(gallery.removeprefix("embedded:"))


def _count(gallery: str) -> int | None:
    """How many images the gallery holds, ``None`` where there is none."""
    from index.gallery import open_source, stored_spec

    spec = stored_spec(gallery)
    if spec is None:
        return None
    with closing(open_source(gallery, spec)) as opened:
        return opened.count()


def _carry_rules(source: str, target: str) -> None:
    """Retention rules go along where both galleries have such; else say that they stay behind."""
    from index.embedded.retention import Retention, read_retention, write_retention
    from index.gallery import embedded_folder, shown_address

    source_folder, target_folder = embedded_folder(source), embedded_folder(target)
    rules = Retention() if source_folder is None else read_retention(source_folder)
    if rules == Retention():
        return
    if target_folder is not None:
        write_retention(target_folder, rules)
    else:
        typer.echo(
            f"the retention rules of {shown_address(source)} were not copied: a gallery in Milvus has none",
            err=True,
        )


def _print_copy(report: "CopyReport", source: str, target: str, encoder: str) -> None:
    from index.wording import counted

    print(f"{source} -> {target}, encoder {encoder}")
    print(f"{counted(report.added, 'image')} copied; there before: {report.unchanged:,}")
    if report.removed or report.replaced:
        print(f"removed from the target: {report.removed:,}; replaced in it: {report.replaced:,}")
    print(
        f"{report.verified:,} of {report.source_images:,} verified: record and vector agree, no component "
        f"differs by more than {report.largest_difference:.1g}"
    )
    for fault in report.faults:
        print(f"  {fault}")
    if report.fault_count > len(report.faults):
        print(f"  and {counted(report.fault_count - len(report.faults), 'fault')} more")
    if report.fault_count:
        print(f"{counted(report.fault_count, 'fault')}: the copy is not whole; {_what_helps(report)}")
    else:
        print("the copy is whole; image files were left where they are, in the server's data folder")


def _what_helps(report: "CopyReport") -> str:
    if not report.needs_mirror:
        return "run it again"
    return (
        "the target holds images that the source does not, or holds otherwise, as after removals: run it "
        "again with --mirror, which says what it would remove and replace, then with --mirror --yes"
    )


def _say_difference(source: str, target: str, spec: "EmbeddingSpec") -> None:
    from index.copying import difference
    from index.gallery import open_source, shown_address
    from index.wording import counted

    with (
        closing(open_source(source, spec)) as read,
        closing(open_source(target, spec)) as written,
    ):
        found = difference(read, written)
    extra, changed = counted(len(found.extra), "image"), counted(len(found.changed), "image")
    print(f"{extra} that the source does not hold would be removed from {shown_address(target)}")
    _name(found.extra)
    print(f"{changed} would be replaced, since record or vector differ")
    _name(found.changed)
    print(f"{counted(found.missing, 'image')} would be copied")
    print("nothing was changed; to do it, add --yes")


def _name(image_ids: "Sequence[str]") -> None:
    for image_id in image_ids[:_NAMED]:
        print(f"  image {image_id!r}")
    if len(image_ids) > _NAMED:
        print(f"  and {len(image_ids) - _NAMED:,} more")


def _same_place(source: str, target: str) -> bool:
    """Whether the two addresses are of one gallery, however they are spelt."""
    from index.gallery import embedded_folder

    first, second = embedded_folder(source), embedded_folder(target)
    if first is None or second is None:
        return source == target
    return first.resolve() == second.resolve()


def _print_reindex(report: "ReindexReport", gallery: str, encoder: Path) -> None:
    from index.wording import counted

    print(f"{counted(report.embedded, 'image')} embedded, {report.already:,} embedded before")
    for image_id, why in list(report.left.items())[:_NAMED]:
        print(f"  image {image_id!r} {why}")
    if len(report.left) > _NAMED:
        print(f"  and {counted(len(report.left) - _NAMED, 'image')} more")
    if not report.switched:
        print(f"not switched yet: {report.waits_for}")
        print(
            "ingest or erase those images, or give --without-missing; then run the same command again"
            if report.left
            else "the new generation is ready but for what is stored from now on: stop the server, run the "
            "same command again (it embeds only what is new), then start the server with the new encoder"
        )
        return
    if report.waits_for is not None:
        print(f"{gallery} is switched, but of what was stored last {report.waits_for}")
        print(
            "put the files of those images back, or give --without-missing; then run the same command again: "
            "no server of the new encoder starts before, and --drop-old is refused"
        )
        return
    print(
        f"{gallery} now holds {counted(report.images, 'image')} of the encoder in {encoder}: "
        "start its servers with it"
    )
    print(f"the old generation is kept; remove it with: peca gallery reindex --gallery {gallery} --drop-old")
