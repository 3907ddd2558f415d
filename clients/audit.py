"""`peca audit`: whether the record of who searched for whom is as it was written, and extracts of it."""

import sys
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clients.data_folder import DataDir, data_folder
from clients.instants import instant
from index.wording import counted

if TYPE_CHECKING:
    from server.chain import Link
    from server.verification import Verification

audit_app = typer.Typer(
    help="Verify the audit log of a server's data folder, and write extracts of it.", no_args_is_help=True
)


def _format(name: str) -> str:
    from server.extracts import ExtractFormat

    if name not in tuple(ExtractFormat):
        raise typer.BadParameter(f"expected {' or '.join(ExtractFormat)}, got {name!r}")
    return name


@audit_app.command()
def verify(
    data_dir: DataDir = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="N:SHA256", help="A head noted earlier, elsewhere: the log must still hold that record."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Check that no record of the audit log was changed, removed, inserted or moved.

    Ends with 1 and names the first broken record where one was. It reads only, beside a running server
    too. The head that it prints, noted where the server's owner cannot write, lets a later --head notice
    even a log that was written anew from end to end.

    Example: peca audit verify --data-dir site
    """
    from clients.tables import print_json
    from server.verification import verify_log

    found = verify_log(data_folder(data_dir), None if head is None else _link(head))
    if as_json:
        print_json(found.as_json())
    else:
        _print_verification(found)
    if found.broken is not None:
        raise typer.Exit(1)


@audit_app.command()
def export(
    data_dir: DataDir = None,
    export_format: Annotated[
        str,
        typer.Option(
            "--format", parser=_format, metavar="jsonl|csv", help="Lines as they stand, or a table."
        ),
    ] = "jsonl",
    after: Annotated[
        datetime | None,
        typer.Option(
            parser=instant, metavar="INSTANT", help="Ended then or later, e.g. 2026-05-01T18:00:00Z."
        ),
    ] = None,
    before: Annotated[
        datetime | None, typer.Option(parser=instant, metavar="INSTANT", help="Ended before then.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Only the records of the holder of this name.")] = None,
    case: Annotated[str | None, typer.Option(help="Only the records of this case.")] = None,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, show_default="standard output", help="File to write.")
    ] = None,
) -> None:
    """Write records of the audit log, oldest first; that you did is recorded there too.

    Of a record that was changed after it was written only that is told, with the text of its line; the
    command then ends with 1.

    Example: peca audit export --case 2026-17 --format csv --out case.csv
    """
    from server.audit import Action, AuditLog
    from server.extracts import ExtractFormat, write_extract
    from server.keyring import os_user
    from server.trail import AuditFilter

    folder, wanted = data_folder(data_dir), AuditFilter(after, before, key, case)
    _check_log(folder)
    with closing(AuditLog(folder)) as audit:
        audit.append(Action.READ, os_user=os_user(), export=export_format, filters=wanted.as_json())
    form = ExtractFormat(export_format)
    if out is None:
        count, broken = write_extract(folder, wanted, form, sys.stdout)
    else:
        with out.open("w", encoding="utf-8", newline="") as file:
            count, broken = write_extract(folder, wanted, form, file)
    print(counted(count, "record"), file=sys.stderr)
    if broken:
        print(f"BROKEN: {broken:,} of them; run: peca audit verify", file=sys.stderr)
        raise typer.Exit(1)


def _check_log(folder: Path) -> None:
    """An audit log is never made by looking for one."""
    from index.errors import InvalidInput
    from server.audit import FILE_NAME

    if not (folder / FILE_NAME).is_file():
        raise InvalidInput(f"there is no audit log {folder / FILE_NAME}; name the server's with --data-dir")


def _link(text: str) -> "Link":
    from server.chain import Link

    sequence, _, digest = text.partition(":")
    if not (sequence.isdecimal() and len(digest) == 64):
        raise typer.BadParameter(f"expected a head as `peca audit verify` prints it, N:SHA256; got {text!r}")
    return Link(int(sequence), digest.lower())


def _print_verification(found: "Verification") -> None:
    if found.earlier_lines:
        print(
            f"before the first record: {counted(found.earlier_lines, 'line')} of a version without a chain; "
            "the chain seals what stood there when it began, and says nothing of what happened before"
        )
    if found.records:
        print(f"{counted(found.records, 'record')} sound, from {found.first_at} to {found.last_at}")
    for note in found.notes:
        print(f"note: {note}")
    if found.broken is not None:
        print(f"BROKEN: {found.broken}")
    elif found.link is None:
        print("the log holds no record of a chain yet")
    else:
        print(f"head: {found.link}")
