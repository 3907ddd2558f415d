"""The log of a training run: one JSON object a line, and the same values for TensorBoard."""

import json
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

LOG = "log.jsonl"


class RunLog:
    """Writes ``log.jsonl`` and TensorBoard's event files into a run's folder.

    A resumed run goes on in the same files.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._lines = (folder / LOG).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder))

    def describe(self, epoch: int, step: int, run: dict[str, str]) -> None:
        """Log how the run goes on from ``step``, in words by name."""
        self._write_line({"epoch": epoch, "step": step, "run": run})
        self._board.add_text("run", "\n".join(f"- {name}: {text}" for name, text in run.items()), step)

    def write(self, epoch: int, step: int, values: dict[str, float]) -> None:
        """Log ``values`` after ``step`` steps of the run."""
        self._write_line({"epoch": epoch, "step": step, **values})
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def _write_line(self, content: dict[str, Any]) -> None:
        self._lines.write(json.dumps(content) + "\n")
        self._lines.flush()

    def close(self) -> None:
        """Close the files."""
        self._lines.close()
        self._board.close()
