"""`peca export`, `peca verify` and `peca benchmark encoder`: freezing a run, and what was frozen."""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.extras import need
from clients.progress import progress_bar

if TYPE_CHECKING:
    from exporter.benchmark import Timing, Way
    from exporter.bundle import Bundle, Precision
    from exporter.verify import Check

encoder_app = typer.Typer()
benchmark_app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
encoder_app.add_typer(benchmark_app, name="benchmark")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@encoder_app.command()
def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", exists=True, file_okay=False, help="The folder of `peca train`.")
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of the bundle; must be empty or new.")],
    precision: Annotated[
        str, typer.Option(metavar="LIST", help="The forms to keep, of fp32, fp16 and int8.")
    ] = "fp32,int8",
    flip: Annotated[
        bool, typer.Option("--flip", help="Fold the mirror image into the graph; twice the work.")
    ] = False,
    tensorrt: Annotated[
        bool,
        typer.Option("--tensorrt", help="Also build a TensorRT engine from fp16, for the GPU that is here."),
    ] = False,
    shape_share: Annotated[
        float | None,
        typer.Option(
            show_default="the recipe's", help="Of the embedding's squared length that the shape has, 0 to 1."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(show_default="that of OUT", help="The encoder's name, in its fingerprint.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Freeze the best checkpoint of a run into an encoder bundle; needs the extras [cpu,train].

    One bundle serves both modalities. Each form is compared with the trained network on the held-out
    identities; a bundle that strays is not written. For int8, ways to calibrate and layers in float are
    tried until its mAP is within 0.5 of fp32.

    Example: peca export runs/m1 --out m1 --precision fp32,fp16,int8
    """
    need("torch", "train")
    need("onnxruntime", "cpu")
    from clients.tables import print_json, print_parity
    from training.freeze import freeze_run

    bundle = freeze_run(
        run,
        out,
        name=name or out.name,
        precisions=_forms(precision),
        flip=flip,
        tensorrt=tensorrt,
        shape_share=shape_share,
    )
    if as_json:
        print_json({"fingerprint": bundle.fingerprint, **bundle.manifest.model_dump(mode="json")})
    else:
        print_parity(bundle)


@encoder_app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", file_okay=False, help="Folder of the bundle.")],
    as_json: AsJson = False,
) -> None:
    """Check a bundle on this machine: its seal, each file's hash, shapes, and parity on what is present.

    Ends with 1 where the bundle was changed, or the processor does not compute what was trained. A provider
    that is not installed is absent; one that strays is refused, here and by the server.

    Example: peca verify m1
    """
    need("onnxruntime", "cpu")
    from clients.tables import print_json
    from exporter.verify import Verdict, verify_bundle

    checks = verify_bundle(bundle)
    failed = any(check.verdict is Verdict.FAILED for check in checks)
    if as_json:
        print_json({"whole": not failed, "checks": [asdict(check) for check in checks]})
    else:
        _print_checks(bundle, checks, failed)
    if failed:
        raise typer.Exit(1)


@benchmark_app.command("encoder")
def benchmark_encoder(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            metavar="BUNDLE",
            file_okay=False,
            show_default="the encoder that ships",
            help="Folder of the bundle.",
        ),
    ] = None,
    untrained: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="In place of a bundle: this recipe's network before training, such as PECA (ResNet-50, "
            "288x144); needs the extra [train].",
        ),
    ] = None,
    batch: Annotated[str, typer.Option(metavar="LIST", help="Images of a call.")] = "1,4,8,16,32",
    rounds: Annotated[int, typer.Option(min=1, help="Turns at each batch size.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Time an encoder in each provider and precision that is present, batch by batch.

    The ways take turns, so that other work on the machine falls on all alike. What is missing is listed
    with what it lacks.

    Example: peca benchmark encoder m1 --batch 1,8,32
    """
    need("onnxruntime", "cpu")
    from exporter.bundle import default_bundle

    if bundle is not None and untrained is not None:
        raise typer.BadParameter("name a bundle or --untrained, not both")
    batches = _batches(batch)
    if untrained is None:
        _benchmark(bundle or default_bundle(), batches, rounds, as_json)
        return
    need("torch", "train")
    from exporter.bundle import Precision
    from training.freeze import freeze_untrained
    from training.recipe import load_recipe

    with TemporaryDirectory() as folder:
        made = freeze_untrained(load_recipe(untrained), Path(folder) / "bundle", list(Precision))
        _benchmark(made.path, batches, rounds, as_json)


def _forms(text: str) -> "list[Precision]":
    from exporter.bundle import Precision

    try:
        return [Precision(form.strip()) for form in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"--precision expects some of {', '.join(Precision)}, with commas; got {text!r}"
        ) from None


def _batches(text: str) -> list[int]:
    numbers = text.split(",")
    if not all(number.strip().isdecimal() and 1 <= int(number) <= 32 for number in numbers):
        raise typer.BadParameter(f"--batch expects numbers from 1 to 32, with commas; got {text!r}")
    return [int(number) for number in numbers]


def _benchmark(path: Path, batches: list[int], rounds: int, as_json: bool) -> None:
    from clients.tables import print_json
    from exporter.benchmark import open_ways, reference_of, time_ways
    from exporter.bundle import read_bundle

    bundle = read_bundle(path)
    bundle.check_files()
    ways, absent = open_ways(bundle)
    with progress_bar() as progress:
        task = progress.add_task("time", total=len(batches))
        timings = time_ways(bundle, ways, batches, rounds, lambda: progress.advance(task))
    if not as_json:
        _print_timings(bundle, ways, absent, timings)
        return
    print_json(
        {
            "encoder": bundle.fingerprint,
            "image_hw": bundle.manifest.image_hw,
            "rounds": rounds,
            "reference": reference_of(ways).name,
            "versions": _versions(),
            "mean_cosine": {way.name: way.mean_cosine for way in ways},
            "timings": [asdict(timing) for timing in timings],
            "absent": absent,
        }
    )


def _print_checks(path: Path, checks: "list[Check]", failed: bool) -> None:
    from rich.table import Column, Table
    from rich.text import Text

    from clients.tables import console

    table = Table("what", "verdict", Column("found", overflow="fold"))
    for check in checks:
        table.add_row(Text(check.what), check.verdict, Text(check.found))
    console().print(table)
    verdict = "do not use it; export it again" if failed else "whole, and computes what was trained"
    console().print(f"{path}: {verdict}", soft_wrap=True)


def _print_timings(
    bundle: "Bundle", ways: "list[Way]", absent: dict[str, str], timings: "list[Timing]"
) -> None:
    from rich.table import Column, Table
    from rich.text import Text

    from clients.tables import console
    from exporter.benchmark import reference_of

    height, width = bundle.manifest.image_hw
    cosines = {way.name: way.mean_cosine for way in ways}
    headings = ("batch", "p50 ms", "images/s", "processor ms an image", "speed", "mean cosine")
    table = Table(
        "runtime",
        *(Column(heading, justify="right") for heading in headings),
        title=Text(f"{bundle.fingerprint}, {height} x {width} pixels"),
    )
    for one in timings:
        numbers = (one.p50_ms, one.images_per_s, one.cpu_ms_per_image, one.speed)
        table.add_row(
            one.way,
            str(one.batch),
            *(f"{value:.2f}" for value in numbers),
            f"{cosines[one.way]:.4f}",
        )
    console().print(table)
    console().print(
        f"speed: against {reference_of(ways).name}, median over turns; mean cosine: with the trained "
        f"network, on the probe. {', '.join(f'{name} {number}' for name, number in _versions().items())}",
        soft_wrap=True,
    )
    for name, reason in absent.items():
        console().print(f"not measured: {name}: {reason}", soft_wrap=True)


def _versions() -> dict[str, Any]:
    """Of the runtimes that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
