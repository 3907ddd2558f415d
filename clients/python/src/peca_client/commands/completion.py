"""`peca-client completion`: what a shell needs to complete the command line."""

import argparse
from typing import Any

from peca_client.exits import CommandError, Exit

_INSTALL = "pip install './clients/python[cli]', in PECA's repository"
_HOW = f"""\
examples:
  peca-client completion bash >> ~/.bashrc
  peca-client completion zsh >> ~/.zshrc        # after its line with compinit
  peca-client completion fish > ~/.config/fish/completions/peca-client.fish

It needs argcomplete: {_INSTALL}"""


def add_completion(commands: Any) -> None:
    """Add ``completion`` to the subcommands of a parser."""
    parser = commands.add_parser(
        "completion",
        help="print a script by which a shell completes commands and options",
        description="Print a script by which a shell completes commands and options.",
        epilog=_HOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.set_defaults(run=completion)


def completion(options: argparse.Namespace) -> int:
    """Print the script.

    Raises:
        CommandError: argcomplete is not installed.
    """
    try:
        from argcomplete.shell_integration import shellcode
    except ImportError:
        raise CommandError(f"completion needs argcomplete: {_INSTALL}") from None
    print(shellcode(["peca-client"], shell=options.shell))
    return Exit.DONE


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell, where it is a shell that asks and argcomplete is there; then the process ends."""
    try:
        from argcomplete import autocomplete
    except ImportError:
        # Only the script of `completion` asks, which needs argcomplete itself.
        return
    autocomplete(parser)
