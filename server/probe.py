"""Asks the server that the environment describes whether it lives: ``python -m server.probe``.

For what starts servers, such as Docker's HEALTHCHECK: it ends with 0 where ``/healthz`` answers ok, else
with 1. Not ``/readyz``: a server whose disk is nearly full still searches, and a restart would mend nothing.
"""

import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from server.settings import Settings

_TIMEOUT_S = 4
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 # what listens on all is asked here


def lives(settings: Settings) -> bool:
    """Whether the server of ``settings`` answers; its certificate is for others to check."""
    host = _EVERYWHERE.get(settings.host, settings.host)
    if settings.tls_cert is None:
        connection = HTTPConnection(host, settings.port, timeout=_TIMEOUT_S)
    else:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = HTTPSConnection(host, settings.port, timeout=_TIMEOUT_S, context=context)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException) as error:
        print(f"{host}, port {settings.port}: {error}", file=sys.stderr)
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if lives(Settings()) else 1)
