"""What a command needs beyond the base installation."""

from importlib.util import find_spec

from index.errors import MissingExtra


def need(package: str, extra: str) -> None:
    """Check that ``package`` is installed.

    Raises:
        MissingExtra: It is not; the message names the extra of PECA that installs it.
    """
    if find_spec(package) is None:
        raise MissingExtra(
            f"this command needs {package}; install the extra: pip install '.[{extra}]' in PECA's checkout"
        )


def need_plots() -> None:
    """Check that plots can be drawn, for a command that needs nothing else of the extra [train].

    Raises:
        MissingExtra: They cannot.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtra("plots need matplotlib: pip install matplotlib")
