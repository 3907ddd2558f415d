"""The command line of the engine, ``peca``; each command imports what it needs, so that help is quick."""

import sys
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from clients.audit import audit_app
from clients.encoder import encoder_app
from clients.explain import explain_app
from clients.extras import need, need_plots
from clients.gallery import gallery_app
from clients.instants import instant
from clients.keys import keys_app
from clients.layouts import TreeLayout, layout_name
from clients.plots import PlotFormat
from clients.progress import progress_bar
from clients.studies import Device, Form, Precision, Weights, in_form, studies_app
from index.errors import InvalidInput, PecaError
from index.gallery import Device as SearchDevice
from index.protocols import MODES, Draws
from index.space import Modality
from index.wording import counted
from training.datasets.presets import PRESETS, Preset
from training.datasets.tree import IMAGE_SUFFIXES, Infrared, Layout

if TYPE_CHECKING:
    from clients.uploads import Uploads
    from peca_client import IngestReport

app = typer.Typer(
    name="peca",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
dataset_app = typer.Typer(help="Look at data set trees on disk.", no_args_is_help=True)
app.add_typer(dataset_app, name="dataset")
app.add_typer(studies_app)
app.add_typer(encoder_app)
app.add_typer(explain_app, name="explain")
app.add_typer(keys_app, name="keys")
app.add_typer(audit_app, name="audit")
app.add_typer(gallery_app, name="gallery")


_Choice = TypeVar("_Choice", bound=StrEnum)


class Part(StrEnum):
    """Which part of a data set tree is ingested."""

    TRAIN = "train"
    TEST = "test"
    ALL = "all"


class QueryLight(StrEnum):
    """The light of a search's images, or that the server judges it."""

    VISIBLE = "visible"
    INFRARED = "infrared"
    AUTO = "auto"


class Grouping(StrEnum):
    """What a search shows one result of."""

    TRACK_ID = "track_id"


GALLERY_HELP = "Address of the gallery: embedded:FOLDER, or milvus:HOST:PORT."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``peca``; exits with 0, with 1 where something failed, with 2 where the command line is wrong.

    Args:
        arguments: The words after ``peca``; those of the process where not given.
    """
    try:
        app(args=arguments)
    except Exception as error:
        if not _is_foreseen(error):
            raise
        print(f"peca: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def _is_foreseen(error: Exception) -> bool:
    """Whether the message alone tells the user what to do; anything else is a fault and keeps its trace."""
    if isinstance(error, (PecaError, OSError)):
        return True
    from peca_client import PecaClientError

    return isinstance(error, PecaClientError)


def _protocol(name: str) -> str:
    if name not in MODES:
        raise typer.BadParameter(f"expected one of {', '.join(MODES)}; got {name!r}")
    return name


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(f"peca {version('peca')}")
    except PackageNotFoundError:
        print("peca, an uninstalled source tree")
    raise typer.Exit


Url = Annotated[
    str, typer.Option("--url", envvar="PECA_URL", help="Where the server listens.", show_default=True)
]
ApiKey = Annotated[
    str,
    typer.Option(
        "--api-key",
        envvar="PECA_API_KEY",
        help="The server prints one at its first start. The variable keeps it out of the process list.",
    ),
]
TimeoutS = Annotated[
    float, typer.Option("--timeout-s", min=0.1, help="Longest wait for one answer, in seconds.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
LayoutOption = Annotated[Layout, typer.Option(help="Whose folder layout the tree follows.")]
Split = Annotated[int, typer.Option(min=1, max=10, help="RegDB's split, 1 to 10.")]

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_S = 60.0


@app.callback()
def peca(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find a person across the day and night cameras of a site.

    Begin with `peca demo`, which shows the whole way on synthetic people. For a site of your own, `peca
    serve` starts a server and prints its address and a key. With these in PECA_URL and PECA_API_KEY,
    `peca ingest` fills its gallery and `peca search` asks it. `peca COMMAND --help` shows how.

    Ends with 0 when done, with 1 when it failed, for the reason on standard error, and with 2 when the
    command line is wrong.
    """


@app.command()
def serve(
    gallery: Annotated[
        str | None, typer.Option(show_default="PECA_GALLERY or embedded:peca-data", help=GALLERY_HELP)
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(
            show_default="PECA_ENCODER or the bundle that ships", help="Folder of the encoder bundle."
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(show_default="PECA_HOST or 127.0.0.1", help="Address to listen on.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            show_default="PECA_PORT or 8000", min=0, max=65535, help="Port to listen on; 0 takes a free one."
        ),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(
            show_default="PECA_PROVIDER or auto",
            help="What runs the encoder: auto, cpu, openvino, cuda, onnx-tensorrt or tensorrt.",
        ),
    ] = None,
    device: Annotated[
        SearchDevice | None,
        typer.Option(show_default="PECA_DEVICE or auto", help="What searches an embedded gallery."),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(show_default="PECA_TLS_CERT", help="PEM file of a certificate; serves HTTPS with it."),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(show_default="PECA_TLS_KEY", help="PEM file of the certificate's key.")
    ] = None,
) -> None:
    """Serve a gallery over HTTP until interrupted.

    The first start makes an admin key and prints it once. Every other setting is an environment
    variable PECA_ + its name.

    Example: peca serve --gallery embedded:site --port 8080
    """
    from pydantic import ValidationError

    need("onnxruntime", "cpu")
    from server.app import serve as run_server
    from server.schemas import validation_errors
    from server.settings import Settings

    options: dict[str, Any] = {
        "gallery": gallery,
        "encoder": encoder,
        "host": host,
        "port": port,
        "provider": provider,
        "device": device,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
    }
    try:
        settings = Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        faults = validation_errors(list(error.errors()))
        # What two settings are to each other has no place of its own.
        told = "; ".join(f"{one['at']}: {one['message']}".removeprefix(": ") for one in faults)
        raise InvalidInput(f"a setting is wrong: {told}") from None
    run_server(settings)


@app.command()
def ingest(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            exists=True,
            readable=True,
            help="A folder of images, a CSV manifest, or a data set tree.",
        ),
    ],
    api_key: ApiKey,
    url: Url = DEFAULT_URL,
    camera_id: Annotated[str | None, typer.Option(help="The camera of a folder's images.")] = None,
    modality: Annotated[Modality | None, typer.Option(help="The light of a folder's images.")] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            parser=layout_name,
            metavar="NAME",
            help="PATH is a data set tree of this layout, or of a reader of your own (module:function); its "
            "images get their identities.",
        ),
    ] = None,
    split_name: Annotated[Part, typer.Option(help="Which part of the tree.")] = Part.TEST,
    split: Split = 1,
    batch_size: Annotated[int, typer.Option(min=1, max=256, help="Most images of one request.")] = 32,
    timeout_s: TimeoutS = DEFAULT_TIMEOUT_S,
    as_json: AsJson = False,
) -> None:
    """Store images in a server's gallery.

    A folder needs --camera-id and --modality; its images are dated by EXIF, else by their files.
    A CSV manifest has the columns filename, camera_id, modality, captured_at, and if wanted
    image_id, person_id, track_id, source. Running it again stores nothing twice. Ends with 1 where
    an image was refused or its id is taken; the others are stored all the same.

    Example: peca ingest photos --camera-id gate-1 --modality visible
    """
    from clients.tables import ingest_json, print_ingest, print_json

    found = _uploads(path, camera_id, modality, layout, split_name, split)
    report = _send(found, url, api_key, batch_size, timeout_s)
    if as_json:
        print_json(ingest_json(report))
    else:
        print_ingest(report)
    if report.refused or report.conflict:
        raise typer.Exit(1)


@app.command()
def search(
    api_key: ApiKey,
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="IMAGE",
            exists=True,
            dir_okay=False,
            readable=True,
            help="Crops of one person, up to 16; all are searched as one.",
        ),
    ] = None,
    image_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Search by this stored image, in place of IMAGE.")
    ] = None,
    query_modality: Annotated[
        QueryLight | None,
        typer.Option(show_default="auto", help="The light of the crops; auto judges each by its content."),
    ] = None,
    url: Url = DEFAULT_URL,
    gallery_modality: Annotated[
        Modality | None, typer.Option(show_default="the other one", help="Which images to look in.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most results.")] = 20,
    camera_id: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this camera; may stand several times.")
    ] = None,
    exclude_camera_id: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Not this camera; may stand several times.")
    ] = None,
    after: Annotated[
        datetime | None,
        typer.Option(
            parser=instant, metavar="INSTANT", help="Captured then or later, e.g. 2026-05-01T18:00:00Z."
        ),
    ] = None,
    before: Annotated[
        datetime | None, typer.Option(parser=instant, metavar="INSTANT", help="Captured before then.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Only results of at least this cosine similarity.")
    ] = None,
    group_by: Annotated[
        Grouping | None, typer.Option(help="Of each camera's track only the best image.")
    ] = None,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Order the best 200 by the neighbours that they share.")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare with every image, whatever index the gallery has.")
    ] = False,
    case: Annotated[str | None, typer.Option(help="The case, for the audit log.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why you search, for the audit log.")] = None,
    show: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="Also save a picture: the query beside what was found."
        ),
    ] = None,
    timeout_s: TimeoutS = DEFAULT_TIMEOUT_S,
    as_json: AsJson = False,
) -> None:
    """Find the person of an image in the other modality, best match first.

    Example: peca search front.jpg back.jpg --after 2026-05-01T18:00:00Z --show sheet.png
    """
    from clients.search_sheet import check_sheet_path, save_search
    from clients.tables import print_hits, print_json, search_json
    from peca_client import PecaClient

    images = images or []
    _check_query(images, query_modality, image_id)
    if show is not None:
        check_sheet_path(show)
    options: dict[str, Any] = {
        "gallery_modality": gallery_modality,
        "limit": limit,
        "camera_ids": camera_id or None,
        "exclude_camera_ids": exclude_camera_id or None,
        "after": after,
        "before": before,
        "score_threshold": threshold,
        "group_by": group_by,
        "rerank": rerank,
        "exact": exact,
        "case": case,
        "reason": reason,
    }
    with PecaClient(url, api_key, timeout_s=timeout_s) as client:
        result = (
            client.search(images, query_modality or QueryLight.AUTO, **options)
            if image_id is None
            else client.search_by_image(image_id, **options)
        )
        # Printed before the picture is drawn: the search is in the audit log, whatever comes then.
        if as_json:
            print_json(search_json(result))
        else:
            print_hits(result)
        if show is not None:
            save_search(show, client, result, images, image_id)
            if not as_json:
                print(f"sheet: {show}")


def _check_query(images: list[Path], query_modality: QueryLight | None, image_id: str | None) -> None:
    """A search asks by crops and their light, or by a stored image, whose light the gallery knows."""
    if image_id is not None and (images or query_modality is not None):
        raise typer.BadParameter("--image-id stands in place of IMAGE and --query-modality")
    if image_id is None and not images:
        raise typer.BadParameter("expected IMAGE, or a stored image by --image-id")


@app.command()
def evaluate(
    context: typer.Context,
    reports: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="REPORT",
            exists=True,
            dir_okay=False,
            help="JSON files of --out, read in place of a gallery; the trials of several are averaged.",
        ),
    ] = None,
    gallery: Annotated[str, typer.Option(envvar="PECA_GALLERY", help=GALLERY_HELP)] = "embedded:peca-data",
    protocol: Annotated[
        str, typer.Option(parser=_protocol, metavar="NAME", help=f"The test: {', '.join(MODES)}.")
    ] = "plain",
    query_modality: Annotated[
        Modality | None, typer.Option(show_default="the protocol's", help="Whose images ask.")
    ] = None,
    shots: Annotated[int, typer.Option(min=1, help="Gallery images drawn per camera and identity.")] = 1,
    trials: Annotated[int, typer.Option(min=1, help="Draws to average over.")] = 10,
    draws: Annotated[
        Draws, typer.Option(help="How galleries are drawn: by seed, or by SYSU-MM01's file.")
    ] = Draws.SEEDED,
    rand_perm: Annotated[
        Path | None,
        typer.Option(
            envvar="PECA_RAND_PERM",
            exists=True,
            dir_okay=False,
            help="SYSU-MM01's rand_perm_cam.mat, for official draws.",
        ),
    ] = None,
    beside_paper: Annotated[
        bool, typer.Option("--beside-paper", help="Print the paper's figures for this test below.")
    ] = False,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Order the best 200 of each ranking by shared neighbours.")
    ] = False,
    through_index: Annotated[
        bool, typer.Option("--through-index", help="Also score what a compressed search finds.")
    ] = False,
    device: Annotated[
        SearchDevice, typer.Option(help="What searches for --through-index.")
    ] = SearchDevice.AUTO,
    plots: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for the CMC curve and the distances, as plots."),
    ] = None,
    plot_format: Annotated[PlotFormat, typer.Option(help="What the plots are saved as.")] = PlotFormat.PNG,
    csv: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Also write each trial to this CSV file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Also write the JSON to this file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score the vectors of a gallery by a published protocol.

    The gallery's images need person labels, as `peca ingest --layout` gives them. It is opened
    read-only, beside a running server too. In place of a gallery it takes the JSON that it wrote
    before: one report to print or plot again, or several to average, such as RegDB's ten splits.

    Example: peca evaluate --gallery embedded:sysu --protocol sysu-all --shots 1 --trials 10
    """
    if plots is not None:
        need_plots()
    from clients import evaluation
    from clients.paper import paper_scores
    from clients.tables import print_evaluation, print_json
    from index.distances import gallery_distances
    from index.evaluation import evaluate_gallery
    from index.through_index import evaluate_through_index

    if rerank and through_index:
        raise typer.BadParameter("--rerank and --through-index are two tests; ask for one at a time")
    distances = indexed = None
    if reports:
        _refuse_beside_reports(context)
        report = evaluation.read_reports(reports)
    else:
        with evaluation.stored_gallery(gallery, device if through_index else SearchDevice.CPU) as opened:
            report = evaluate_gallery(
                opened,
                protocol,
                query_modality,
                shots=shots,
                trials=trials,
                draws=draws,
                rand_perm=rand_perm,
                rerank=rerank,
            )
            distances = None if plots is None else gallery_distances(opened)
            if through_index:
                indexed = evaluate_through_index(
                    opened,
                    protocol,
                    query_modality,
                    shots=shots,
                    trials=trials,
                    draws=draws,
                    rand_perm=rand_perm,
                )
    paper = paper_scores(report) if beside_paper else None
    drawn = [] if plots is None else evaluation.draw_evaluation(report, distances, plots, plot_format)
    if csv is not None:
        evaluation.write_csv(report, csv)
    content = evaluation.report_json(report, paper, indexed)
    if out is not None:
        evaluation.write_json(content, out)
    if as_json:
        print_json(content)
    else:
        print_evaluation(report, paper)
        if indexed is not None:
            print(evaluation.index_cost(report, indexed))
        for path in drawn:
            print(path)


def _refuse_beside_reports(context: typer.Context) -> None:
    """A report says what was evaluated; an option that says it again would be passed over."""
    for name in (
        "gallery",
        "protocol",
        "query_modality",
        "shots",
        "trials",
        "draws",
        "rand_perm",
        "through_index",
        "device",
        "rerank",
    ):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = name.replace("_", "-")
            raise typer.BadParameter(f"--{option} is for a gallery; REPORT says already what was evaluated")


@app.command()
def synth(
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder to write; must be empty or not there yet.")
    ],
    preset: Annotated[
        Preset | None, typer.Option(help="A fixed tree; it stands for the four options below.")
    ] = None,
    layout: LayoutOption = Layout.SYSU,
    identities: Annotated[int, typer.Option(min=4, help="How many people.")] = 40,
    images_per_camera: Annotated[int, typer.Option(min=1, help="Images of each person by each camera.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same people.")] = 0,
    infrared: Annotated[
        Infrared | None,
        typer.Option(show_default="the layout's", help="What the infrared cameras receive."),
    ] = None,
) -> None:
    """Draw synthetic people and write them as a data set tree.

    Example: peca synth --out tree --layout sysu --identities 40 --images-per-camera 4 --seed 1
    """
    from training.datasets.synthetic import write_tree

    if preset is not None:
        plan = PRESETS[preset]
        layout, identities, seed = plan.layout, plan.identities, plan.seed
        images_per_camera = plan.images_per_camera
    with progress_bar() as progress:
        task = progress.add_task("draw")
        pictures = write_tree(
            out,
            layout,
            identities,
            images_per_camera,
            seed,
            infrared=infrared,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    people = counted(identities, "person", "people")
    print(f"wrote a synthetic {layout} tree of {people}, {counted(pictures, 'picture')}, to {out}")


@app.command()
def train(
    root: Annotated[Path, typer.Option(exists=True, file_okay=False, help="The data set tree.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of the run.")],
    recipe: Annotated[
        str, typer.Option(help="A recipe that ships, such as M1 or PECA, or the path of a .toml file.")
    ] = "M1",
    form: Form = None,
    dataset: TreeLayout = Layout.SYSU,
    split: Split = 1,
    backbone: Annotated[
        str | None,
        typer.Option(metavar="NAME", show_default="the recipe's", help="resnet18, resnet34 or resnet50."),
    ] = None,
    weights: Weights = None,
    precision: Precision = "fp32",
    device: Device = "cpu",
    compiled: Annotated[
        bool,
        typer.Option("--compile", help="Compile the encoder (torch.compile); takes minutes at the start."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of all draws.")] = 0,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Stop, at a checkpoint, when the run has done so many steps.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop, at a checkpoint, after so many minutes of training.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in OUT.")] = False,
    training_set: Annotated[
        str, typer.Option(show_default="layout and folder", help="The data in words, for the manifest.")
    ] = "",
) -> None:
    """Train an encoder on a data set tree; needs the extra [train].

    OUT gets last.pt, best.pt (best mAP on training identities that are held out; the test set is
    never looked at), log.jsonl, TensorBoard's event files and the decoded images. Several GPUs: put
    `torchrun --nproc-per-node N -m clients.cli` in the place of `peca`.

    Example: peca train --recipe M1 --dataset sysu --root SYSU-MM01 --out runs/m1 --device cuda
    """
    need("torch", "train")
    from clients.runs import run_training
    from training.datasets.reader import read_dataset
    from training.options import ArithmeticForm, TrainOptions
    from training.recipe import Backbone, load_recipe

    chosen = in_form(load_recipe(recipe), form)
    if backbone is not None:
        chosen = chosen.with_backbone(_member(Backbone, "--backbone", backbone))
    run_training(
        TrainOptions(
            chosen,
            read_dataset(dataset, root, split=split),
            out,
            seed=seed,
            max_steps=max_steps,
            max_minutes=max_minutes,
            resume=resume,
            weights=weights,
            arithmetic=_member(ArithmeticForm, "--precision", precision),
            device=device,
            compiled=compiled,
            training_set=training_set,
        )
    )


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder of the site, its gallery and the report.")
    ] = Path("demo-site"),
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to serve on; 0 takes a free one.")] = 0,
    no_serve: Annotated[bool, typer.Option("--no-serve", help="End after the report.")] = False,
) -> None:
    """Show the whole way on synthetic people: from image files to ranked answers.

    Draws a small site, ingests it through the HTTP API, searches in both directions, prints rankings
    and scores, saves contact-sheet.png and report.json in OUT, and leaves the server running.

    Example: peca demo --no-serve --out demo-site
    """
    from clients.demo import run_demo

    run_demo(out, host, port, not no_serve)


@dataset_app.command("describe")
def describe_dataset(
    layout: TreeLayout,
    root: Annotated[Path, typer.Option(exists=True, file_okay=False, help="The tree's top folder.")],
    split: Split = 1,
    check_images: Annotated[
        bool,
        typer.Option("--check-images", help="Also decode every image; takes minutes on the published sets."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a data set tree and print its counts: training images, identities, and each test's sizes.

    Example: peca dataset describe --layout sysu --root SYSU-MM01 --json
    """
    from clients.tables import print_counts, print_json
    from training.datasets.describe import describe
    from training.datasets.reader import read_dataset

    counts = describe(read_dataset(layout, root, split=split), check_images=check_images)
    if as_json:
        print_json(counts)
    else:
        print_counts(counts, f"{layout} tree at {root}")


def _member(kind: type[_Choice], option: str, name: str) -> _Choice:
    """The member of a closed set that an option names; the set's module is heavy, so Typer cannot know it."""
    try:
        return kind(name)
    except ValueError:
        raise typer.BadParameter(f"{option} expects one of {', '.join(kind)}; got {name!r}") from None


def _uploads(
    path: Path,
    camera_id: str | None,
    modality: Modality | None,
    layout: str | None,
    part: Part,
    split: int,
) -> "Uploads":
    """What PATH holds, read as the options say."""
    from clients.uploads import folder_uploads, manifest_uploads, tree_uploads

    if layout is not None or path.is_file():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise typer.BadParameter(f"{path} is one image; name its folder, with --camera-id and --modality")
        if camera_id is not None or modality is not None:
            raise typer.BadParameter(
                "--camera-id and --modality are for a folder; a manifest or tree says its own"
            )
        if layout is None:
            return manifest_uploads(path)
        from training.datasets.reader import read_dataset

        dataset = read_dataset(layout, path, split=split)
        parts = {Part.TRAIN: dataset.train, Part.TEST: dataset.test, Part.ALL: dataset.train + dataset.test}
        return tree_uploads(parts[part])
    if camera_id is None or modality is None:
        raise typer.BadParameter(
            "a folder needs --camera-id and --modality (or --layout, if it is a data set tree)"
        )
    return folder_uploads(path, camera_id, modality)


def _send(found: "Uploads", url: str, api_key: str, batch_size: int, timeout_s: float) -> "IngestReport":
    """Store what was found, under a progress bar where a terminal shows it; the refusals join the report."""
    from peca_client import IngestReport, PecaClient

    with PecaClient(url, api_key, timeout_s=timeout_s) as client, progress_bar() as progress:
        task = progress.add_task("ingest", total=len(found.ready))
        report = client.ingest(
            found.ready, batch_size, lambda batch: progress.advance(task, len(batch.items))
        )
    return IngestReport.joined([report, IngestReport(found.refused)])


if __name__ == "__main__":
    main()
