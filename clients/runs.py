"""A training run as a terminal shows it: progress, time left, and the score of each validation."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from training.trainer import Event, TrainOptions, train

_SHOWN = ("loss", "images_per_s", "lr")


def run_training(options: TrainOptions) -> Path:
    """Train under a progress bar on standard error; returns the best checkpoint.

    Raises:
        PecaError: As ``training.trainer.train`` says.
    """
    console = Console(stderr=True, highlight=False)
    console.print(
        f"recipe {options.recipe.name}, {options.recipe.model.backbone}, "
        f"{options.recipe.data.image_hw[0]}x{options.recipe.data.image_hw[1]}, {options.arithmetic}, "
        f"weights: {options.weights or 'from scratch'}"
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[values]}"), console=console) as progress:
        return train(options, _Reporter(progress))


class _Reporter:
    """Turns the trainer's events into two bars, decoding and training, and a line a validation."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        values = event.values
        if "decoded" in values:
            self._advance("decoding", values["decoded"], values["images"], "")
        elif "batch_identities" in values:
            held, asked = int(values["batch_identities"]), int(values["asked_identities"])
            self._progress.console.print(
                f"[yellow]only {held} identities to train on; a batch holds these, not {asked}[/]"
            )
        elif "val_map" in values:
            scores = f"R1 {values['val_rank1']:.1%}, mAP {values['val_map']:.1%}"
            self._progress.console.print(f"epoch {event.epoch}: held-out identities {scores}")
        else:
            shown = "  ".join(f"{name} {values[name]:.4g}" for name in _SHOWN)
            self._advance("training", event.step, event.steps, shown)

    def _advance(self, name: str, done: float, total: float, shown: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, values="")
        self._progress.update(self._tasks[name], completed=done, total=total, values=shown)
