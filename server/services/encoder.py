"""The encoder in use, which can be opened again while the server runs."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from exporter.runtime import Encoder
from index.gallery import check_spec
from index.space import Modality
from server.access import Caller
from server.audit import Action, AuditLog
from server.errors import EncoderFails

_LOGGER = logging.getLogger(__name__)


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
        self._fails = False

    def encode(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
        """Embed a batch by the encoder in use; see ``Encoder.encode``."""
        try:
            vectors = self._current.encode(images, modality)
        except Exception:
            self._fails = True
            raise
        self._fails = False
        return vectors

    def check(self) -> None:
        """Pass where the last batch was encoded; where it was not, try again with a black image.

        Raises:
            EncoderFails: That failed too.
        """
        if not self._fails:
            return
        try:
            self.encode(np.zeros((1, *self.image_hw, 3), np.uint8), [Modality.VISIBLE])
        except Exception as error:
            _LOGGER.warning("the encoder fails: %s", error)
            raise EncoderFails("the encoder fails on every batch; the server's log says why") from error

    def opened_anew(self) -> Encoder:
        """The encoder of the settings, to be taken.

        Raises:
            EncoderMismatch: It is another than the gallery's.
            BundleInvalid, ProviderUnfit: It cannot be opened, or what the settings ask to run it cannot.
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
