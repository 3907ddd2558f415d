"""A gallery moved to another encoder: its next generation is made beside the one in use, then replaces it.

Embedded: only who holds the gallery for writing can switch, so beside a server the next generation is
made and the switch waits for a run without the server. Milvus: the alias switches at once, a server of the
old encoder is refused its writes from then on, and a last pass brings over what it wrote before; until that
pass has ended no server of the new encoder writes, and a run that was broken off is to be run again.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from index.errors import GalleryUnavailable, InvalidInput
from index.files import size_of, sync_folder
from index.gallery import Gallery, Source, is_milvus, shown_address, stored_spec
from index.generations import current_folder, generation_folder, other_generations, switch
from index.reindex import NewEncoder, Pass, Progress, empty_if_stale, follow
from index.space import EmbeddingSpec
from index.wording import counted

_NUMBER_BYTES = 4
"""Of a vector on the disk."""

_SEEN_S = 2.0
"""So long after a switch in Milvus all that servers wrote before is seen."""


@dataclass(slots=True)
class ReindexReport:
    """What a run of ``reindex`` did.

    Attributes:
        images: What the next generation holds.
        embedded: Images embedded in this run.
        already: Images that a run before this one had embedded.
        left: By ``image_id``, why an image could not be embedded; the old generation still holds it.
        switched: Whether the gallery is the next generation now.
        waits_for: Why the move has not ended; ``None`` if it has. In Milvus it may be switched and yet wait.
    """

    images: int = 0
    embedded: int = 0
    already: int = 0
    left: dict[str, str] = field(default_factory=dict)
    switched: bool = False
    waits_for: str | None = None

    def note(self, done: Pass, first: bool) -> None:
        """Take in a pass; what a later pass finds is what an earlier one of this run made."""
        self.embedded += done.embedded
        self.already = done.already if first else self.already
        self.left = done.left


def reindex(
    url: str,
    images: Path,
    encoder: NewEncoder,
    *,
    without_left: bool = False,
    progress: Progress = lambda _: None,
) -> ReindexReport:
    """Embed the stored images by another encoder and switch the gallery to it; resumes what was broken off.

    Args:
        url: Address of the gallery.
        images: The folder of its image files.
        encoder: The new one.
        without_left: Switch even if images could not be embedded; they stay in the old generation only.
        progress: Told how many images more were looked at.

    Raises:
        InvalidInput: There is no gallery that lasts at ``url``, or it is of this encoder already.
        GalleryUnavailable: It cannot be read or written; nothing was switched.
    """
    spec = stored_spec(url)
    if spec is None:
        raise InvalidInput(f"there is no gallery at {shown_address(url)}; ingest images into it first")
    if spec == encoder.spec and not _is_being_moved(url):
        raise InvalidInput(
            f"the gallery at {shown_address(url)} is of encoder {spec.encoder} already, so nothing was done; "
            "to move it, give the bundle of another encoder"
        )
    job = _Job(images, encoder, without_left, progress, ReindexReport())
    if is_milvus(url):
        _reindex_milvus(url, job)
    else:
        _reindex_embedded(Path(url.removeprefix("embedded:")), spec, job)
    return job.report


def drop_old(url: str) -> list[str]:
    """Remove the generations that are not in use, for good; returns their names.

    Raises:
        GalleryUnavailable: A process has one open for writing, or it cannot be removed.
    """
    if is_milvus(url):
        from index.milvus_address import MilvusAddress
        from index.milvus_collection import drop_others
        from index.milvus_connection import Connection

        with closing(Connection(MilvusAddress.parse(url))) as connection:
            return drop_others(connection, MilvusAddress.parse(url))
    return list(_drop_folders(Path(url.removeprefix("embedded:"))))


@dataclass(frozen=True, slots=True)
class _Job:
    """What every step of one run needs."""

    images: Path
    encoder: NewEncoder
    without_left: bool
    progress: Progress
    report: ReindexReport

    def follow(self, old: Source, new: Gallery, *, first: bool, resumed: bool = False) -> bool:
        """One pass; whether the next generation may take the old one's place."""
        if first and not resumed:
            empty_if_stale(new, self.images, self.encoder)
        # Of later passes most images are looked at a second time.
        done = follow(old, new, self.images, self.encoder, self.progress if first else lambda _: None)
        self.report.note(done, first)
        self.report.images = new.count()
        if done.left and not self.without_left:
            self.report.waits_for = f"{counted(len(done.left), 'image')} could not be embedded"
            return False
        return True


def _reindex_embedded(folder: Path, spec: EmbeddingSpec, job: _Job) -> None:
    from index.embedded.engine import EmbeddedGallery
    from index.embedded.reading import StoredImages
    from index.embedded.retention import read_retention, write_retention

    old_folder, new_folder = current_folder(folder), generation_folder(folder, job.encoder.spec)
    with ExitStack() as held:

        def writer() -> Gallery | None:
            """The old generation held for writing, ``None`` while another process does."""
            try:
                return held.enter_context(closing(EmbeddedGallery(old_folder, spec)))
            except GalleryUnavailable as error:
                job.report.waits_for = str(error)
                return None

        old = writer()  # first, since it brings a gallery of an earlier version to this one
        _check_room(old_folder, spec, new_folder, job.encoder.spec)
        new = held.enter_context(closing(EmbeddedGallery(new_folder, job.encoder.spec)))
        if old is None:
            # It may take hours, for which neither the server's memory nor its write-ahead file may double.
            with closing(StoredImages(old_folder, spec, live=True)) as serving:
                ready = job.follow(serving, new, first=True)
            old = writer() if ready else None
            ready = old is not None and job.follow(old, new, first=False)
        else:
            ready = job.follow(old, new, first=True)
        if ready:
            new.close()
            write_retention(new_folder, read_retention(old_folder))
            switch(folder, new_folder)
            job.report.switched, job.report.waits_for = True, None


def _check_room(old: Path, old_spec: EmbeddingSpec, new: Path, new_spec: EmbeddingSpec) -> None:
    """Refuse what would fill the disk, on which a server stores images meanwhile."""
    from index.embedded.reading import StoredImages
    from index.embedded.store import FILE_NAME

    with closing(StoredImages(old, old_spec, live=True)) as stored:
        count = stored.count()
    longer = _NUMBER_BYTES * (new_spec.dim - old_spec.dim)
    needed = size_of(old / FILE_NAME) + count * longer - size_of(new / FILE_NAME)
    free = shutil.disk_usage(old).free
    if free < needed:
        raise GalleryUnavailable(
            f"the new generation of {counted(count, 'image')} takes about {needed / 1e6:,.1f} MB beside the "
            f"old one in {old}, and {free / 1e6:,.1f} MB are free: make room, or run peca gallery compact "
            "first if much was removed; nothing was changed"
        )


def _reindex_milvus(url: str, job: _Job) -> None:
    from index.milvus_address import MilvusAddress
    from index.milvus_collection import Generation, current, leaving, prepare, publish, settle, unsettled
    from index.milvus_connection import Connection

    address = MilvusAddress.parse(url)

    def follow(left: Generation, next_one: Generation, *, first: bool, resumed: bool) -> bool:
        from index.milvus import MilvusGallery

        with (
            closing(MilvusGallery(address, left.spec, read_only=True, generation=left)) as old,
            closing(MilvusGallery(address, next_one.spec, generation=next_one)) as new,
        ):
            return job.follow(old, new, first=first, resumed=resumed)

    with closing(Connection(address)) as connection:
        used, left = current(connection, address), leaving(connection, address)
        if used is None:
            raise GalleryUnavailable(f"the gallery {address} was dropped meanwhile")
        resumed = left is not None
        if left is None:
            left, used = used, prepare(connection, address, job.encoder.spec)
            if not follow(left, used, first=True, resumed=False):
                return
            publish(connection, address, left, used)
            # A call of ``add`` that had looked at the alias before ends, and is seen by others.
            time.sleep(_SEEN_S)
        elif used.spec != job.encoder.spec:
            raise unsettled(address, used.spec)
        job.report.switched = True
        # What a server wrote between the first pass and the switch; nobody writes the new generation yet.
        if follow(left, used, first=resumed, resumed=resumed):
            settle(connection, address)


def _is_being_moved(url: str) -> bool:
    """Whether a switch to the encoder in use was broken off before all was brought over."""
    if not is_milvus(url):
        return False
    from index.milvus_address import MilvusAddress
    from index.milvus_collection import leaving
    from index.milvus_connection import Connection

    with closing(Connection(MilvusAddress.parse(url))) as connection:
        return leaving(connection, MilvusAddress.parse(url)) is not None


def _drop_folders(folder: Path) -> Iterator[str]:
    """Remove the folders, and the files of the first generation, that are not in use."""
    from index.embedded.locks import ProcessLock
    from index.embedded.store import LOCK_NAME, remove_files

    for other in other_generations(folder):
        lock = ProcessLock(other / LOCK_NAME)
        try:
            remove_files(other)
            if other != folder:
                shutil.rmtree(other)
                sync_folder(other.parent)
        except OSError as error:
            raise GalleryUnavailable(f"the generation in {other} cannot be removed: {error}") from error
        finally:
            lock.release()
        yield str(other)
