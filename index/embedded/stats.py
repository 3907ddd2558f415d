"""What a gallery holds, and what it takes on the disk."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from index.embedded import index_file, store
from index.errors import GalleryUnavailable
from index.files import size_of
from index.images import image_paths
from index.records import CameraSummary


@dataclass(frozen=True, slots=True)
class GalleryStats:
    """What a gallery holds at one moment.

    Attributes:
        encoder: Fingerprint of the encoder.
        dim: Length D of a vector.
        images: How many images.
        people: How many identities label them.
        cameras: Counts and times by camera and modality.
        database_bytes: Of the SQLite file with its write-ahead file.
        index_file_bytes: Of the index file, 0 where there is none.
        image_files: How many image files are kept.
        image_bytes: Of these.
    """

    encoder: str
    dim: int
    images: int
    people: int
    cameras: tuple[CameraSummary, ...]
    database_bytes: int
    index_file_bytes: int
    image_files: int
    image_bytes: int


def gallery_stats(folder: Path, images: Path) -> GalleryStats:
    """Count what a gallery holds; another process may write it meanwhile.

    Args:
        folder: Of the gallery.
        images: Of its image files.

    Raises:
        GalleryUnavailable: There is no gallery, or it cannot be read.
    """
    with closing(store.open_stored(folder, read_only=True)) as stored:
        cameras = tuple(stored.cameras())
        people = stored.people()
    try:
        sizes = [size_of(path) for path in image_paths(images)]
        database_bytes = size_of(folder / store.FILE_NAME) + size_of(folder / f"{store.FILE_NAME}-wal")
        index_file_bytes = size_of(folder / index_file.FILE_NAME)
    except OSError as error:
        raise GalleryUnavailable(f"the files of the gallery {folder} cannot be read: {error}") from error
    return GalleryStats(
        encoder=stored.spec.encoder,
        dim=stored.spec.dim,
        images=sum(camera.count for camera in cameras),
        people=people,
        cameras=cameras,
        database_bytes=database_bytes,
        index_file_bytes=index_file_bytes,
        image_files=len(sizes),
        image_bytes=sum(sizes),
    )
