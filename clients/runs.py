"""What the user sees of a training run: progress, time left, and the score of each validation."""

from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from index.wording import counted
from training.options import Event, TrainOptions
from training.processes import rank_of_this_process
from training.trainer import train

_SHOWN = ("loss", "images_per_s", "lr")


def run_training(options: TrainOptions) -> None:
    """Train under a progress bar on standard error, and print the best checkpoint's path.

    Of the processes that torchrun started, the first speaks.

    Raises:
        PecaError: As ``training.trainer.train`` says.
    """
    if rank_of_this_process() > 0:
        train(options, _say_nothing)
        return
    console = Console(stderr=True, highlight=False, emoji=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn("{task.fields[values]}"), console=console) as progress:
        reporter = _Reporter(progress)
        best = train(options, reporter)
    if reporter.step < reporter.steps:
        console.print(f"stopped at step {reporter.step} of {reporter.steps}; add --resume to go on")
    print(f"best checkpoint: {best}")


def _say_nothing(event: Event) -> None:
    pass


class _Reporter:
    """Turns the trainer's events into two bars, decoding and training, and a line a validation."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self.step, self.steps = 0, 0

    def __call__(self, event: Event) -> None:
        values = event.values
        self.step, self.steps = event.step, event.steps
        if event.run:
            described = "\n".join(f"{name}: {text}" for name, text in event.run.items())
            self._progress.console.print(described, markup=False, soft_wrap=True)
        elif "decoded" in values:
            self._advance("decoding", values["decoded"], values["images"], "")
        elif "batch_identities" in values:
            held, asked = int(values["batch_identities"]), int(values["asked_identities"])
            people = counted(held, "identity", "identities")
            self._progress.console.print(f"[yellow]only {people} to train on; a batch may hold {asked}[/]")
        elif "val_map" in values:
            scores = f"R1 {values['val_rank1']:.1%}, mAP {values['val_map']:.1%}"
            self._progress.console.print(f"epoch {event.epoch}: held-out identities {scores}")
        else:
            shown = "  ".join(f"{name} {values[name]:.4g}" for name in _SHOWN)
            left = timedelta(seconds=round(values["time_left_s"]))
            self._advance("training", event.step, event.steps, f"{left} left  {shown}")

    def _advance(self, name: str, done: float, total: float, shown: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, values="")
        self._progress.update(self._tasks[name], completed=done, total=total, values=shown)
