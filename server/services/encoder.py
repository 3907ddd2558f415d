"""The encoder in use, which can be opened again while the server runs."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from exporter.runtime import Encoder
from index.gallery import check_spec
from index.space import Modality
from server.access import Caller
from server.audit import Action, AuditLog


class CurrentEncoder:
    """An ``Encoder`` that stands for the one in use; safe to call from several threads.

    Args:
        encoder: The first.
        load: Opens the encoder of the settings.
    """

    def __init__(self, encoder: Encoder, load: Callable[[], Encoder]) -> None:
        self._current = encoder
        self._load = load
        self.spec = encoder.spec
        self.image_hw = encoder.image_hw
        self.provider = _provider_of(encoder)

    def encode(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
        """Embed a batch by the encoder in use; see ``Encoder.encode``."""
        return self._current.encode(images, modality)

    def reload(self) -> None:
        """Open the encoder of the settings anew; what is being encoded is finished by the one before.

        Raises:
            EncoderMismatch: It is another than the gallery's; the one in use stays.
            BundleInvalid: It cannot be opened; the one in use stays.
        """
        fresh = self._load()
        check_spec(self.spec, fresh.spec)
        self._current, self.provider = fresh, _provider_of(fresh)


def _provider_of(encoder: Encoder) -> str:
    """What runs an encoder; one that was handed in need not say."""
    return getattr(encoder, "provider", "not told")


class Reload:
    """Opens the encoder again for people, and says so in the audit log."""

    def __init__(self, encoder: CurrentEncoder, audit: AuditLog) -> None:
        self._encoder = encoder
        self._audit = audit

    def run(self, caller: Caller) -> None:
        """Open the encoder of the settings anew.

        Raises:
            PecaError: As of ``CurrentEncoder.reload``; or the audit log cannot be written.
        """
        self._encoder.reload()
        self._audit.append(
            Action.RELOAD, caller, encoder=self._encoder.spec.encoder, provider=self._encoder.provider
        )
