"""What keeps the agent from running; each message says what to do."""

from peca_client.errors import PecaClientError

INSTALL = "pip install './clients/python[watch]', in PECA's repository"


class WatchError(PecaClientError):
    """A source, a detector, the spool or an option is not as the agent needs it."""
