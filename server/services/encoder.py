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
        self.provider = provider_of(encoder)

    def encode(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
        """Embed a batch by the encoder in use; see ``Encoder.encode``."""
        return self._current.encode(images, modality)

    def opened_anew(self) -> Encoder:
        """The encoder of the settings, to be taken.

        Raises:
            EncoderMismatch: It is another than the gallery's.
            BundleInvalid: It cannot be opened.
        """
        fresh = self._load()
        check_spec(self.spec, fresh.spec)
        return fresh

    def take(self, fresh: Encoder) -> None:
        """Use another from now on; what is being encoded is finished by the one before."""
        self._current, self.provider = fresh, provider_of(fresh)


def provider_of(encoder: Encoder) -> str:
    """What runs an encoder; one that was handed in need not say."""
    return getattr(encoder, "provider", "not told")


class Reload:
    """Opens the encoder again for people, and says so in the audit log."""

    def __init__(self, encoder: CurrentEncoder, audit: AuditLog) -> None:
        self._encoder = encoder
        self._audit = audit

    def run(self, caller: Caller) -> None:
        """Open the encoder of the settings anew; it is used once that is recorded.

        Raises:
            PecaError: As of ``CurrentEncoder.opened_anew``; or the audit log cannot be written. The one in
                use stays.
        """
        fresh = self._encoder.opened_anew()
        self._audit.append(Action.RELOAD, caller, encoder=fresh.spec.encoder, provider=provider_of(fresh))
        self._encoder.take(fresh)
