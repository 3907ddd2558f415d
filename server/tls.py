"""The server's certificate, looked at before anything is opened."""

import ssl

from index.errors import InvalidInput
from server.settings import Settings


def check_certificate(settings: Settings) -> None:
    """Load the certificate of the settings, where there is one.

    Raises:
        InvalidInput: The files cannot be read, are no certificate and key, or do not belong together.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # The password is asked for only where the key has one; nobody may be there to type it.
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise InvalidInput(
            f"expected a certificate in {settings.tls_cert} and its key, without a passphrase, in "
            f"{settings.tls_key}, both PEM; got: {reason}"
        ) from error
