"""How a command of `peca-client` ends."""

from enum import IntEnum

from peca_client.errors import ConnectionFailed, PecaClientError, ProblemError, UntrustedServer

_NOT_NOW = (429, 503)


class Exit(IntEnum):
    """Exit codes; 2 is argparse's, for a wrong command line, and 130 the shells', for Ctrl-C."""

    DONE = 0
    FAILED = 1
    LATER = 3
    REFUSED = 4
    INTERRUPTED = 130

    @classmethod
    def of(cls, error: Exception) -> "Exit":
        """The code of an error: ``LATER`` where the same command may well succeed later."""
        if isinstance(error, ProblemError):
            return cls.LATER if error.status in _NOT_NOW else cls.FAILED
        absent = isinstance(error, ConnectionFailed) and not isinstance(error, UntrustedServer)
        return cls.LATER if absent else cls.FAILED


MEANINGS = """\
exit codes:
  0  done                              3  not now (no answer, busy): run the same command again
  1  it failed (see the message)       4  the server refused some of the images
  2  the command line is wrong"""


class CommandError(PecaClientError):
    """What a command needs is missing; the message says what to do."""
