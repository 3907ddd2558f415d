"""`peca-client watch`: its options, its run, its summary."""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from peca_client.client import PecaClient
from peca_client.commands.connection import add_server, check_server, count, instant
from peca_client.exits import Exit
from peca_client.models import Modality
from peca_client.watch.errors import INSTALL, WatchError
from peca_client.wording import counted, tracks_told

_ABOUT = """\
Watch one camera: find people, follow them, and send the sharpest few crops of each to a PECA server.

Crops go to a spool on the disk first. While the server is away they wait there; after a restart or a power
cut the same command goes on where it was, loses nothing and sends nothing twice."""
_EXAMPLES = """\
examples:
  peca-client watch rtsp://user:password@10.0.0.7/stream1 --camera gate-ir --modality infrared
  peca-client watch night.mp4 --camera gate-ir --modality infrared --start 2026-05-01T22:00:00+02:00
  peca-client watch /srv/frames --camera hall --modality auto --detector yolov8n.onnx
  peca-client watch /srv/recordings --camera hall --modality visible --once --json

exit codes:
  0  all crops are at the server       3  crops wait in the spool: run the same command again
  1  it could not run (see the message) 4  the server refused crops; they are kept, see --retry-refused
  2  the command line is wrong

The server's address and key are best given as PECA_URL and PECA_API_KEY; the role camera is enough."""


def add_watch(commands: Any) -> None:
    """Add ``watch`` to the subcommands of a parser."""
    parser = commands.add_parser(
        "watch",
        help="find people in a camera's frames and send crops of them",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="a video file, a folder, or an rtsp:// or http:// address"
    )
    parser.add_argument("--camera", required=True, metavar="ID", help="the site's name of the camera")
    lights = [*(light.value for light in Modality), "auto"]
    parser.add_argument(
        "--modality",
        required=True,
        choices=lights,
        help="its light; auto: infrared where a frame has no colours",
    )
    add_server(parser).add_argument(
        "--patience",
        type=_at_least(0),
        default=60.0,
        metavar="S",
        help="at the end, give up where nothing could be sent for so long [60]",
    )
    _add_people(parser.add_argument_group("people"))
    _add_running(parser.add_argument_group("running"))
    parser.set_defaults(run=watch)


def _add_people(group: Any) -> None:
    group.add_argument(
        "--detector",
        type=Path,
        metavar="FILE",
        help="a network: SSD or YOLO as ONNX, SSD as OpenVINO IR (.xml); OpenCV's HOG where not given",
    )
    group.add_argument("--threshold", type=_share, default=0.5, help="least score of a person, 0 to 1 [0.5]")
    group.add_argument(
        "--person-class",
        type=_class_number,
        metavar="N",
        help="the network's number for people [SSD 1, YOLO 0]",
    )
    group.add_argument(
        "--crops", type=count, default=3, metavar="N", help="crops of a track, or of each 30 s of it [3]"
    )
    group.add_argument(
        "--min-height", type=count, default=64, metavar="PX", help="smaller people are left out [64]"
    )
    group.add_argument(
        "--min-sharpness",
        type=_at_least(0),
        default=20.0,
        metavar="V",
        help="blurred crops are left out: variance of the Laplacian at 128 pixels' height [20]",
    )
    group.add_argument(
        "--min-hits",
        type=count,
        metavar="N",
        help="frames in which a person must be seen [2; in still images 1]",
    )
    group.add_argument(
        "--lost",
        type=_above_zero,
        default=1.0,
        metavar="S",
        help="a person unseen for so long begins a new track [1, or three frames where they come slowly]",
    )


def _add_running(group: Any) -> None:
    group.add_argument("--fps", type=_above_zero, default=5.0, help="frames a second to look at [5]")
    group.add_argument(
        "--start",
        type=instant,
        metavar="TIME",
        help="when a video file began, with its time zone [its file's time less its length]",
    )
    group.add_argument(
        "--once", action="store_true", help="of a folder: end when all that is there was taken"
    )
    group.add_argument(
        "--spool", type=Path, metavar="DIR", help="where crops wait [~/.local/state/peca-client/ID]"
    )
    group.add_argument(
        "--spool-mb", type=_above_zero, default=1024.0, metavar="MB", help="most that waits [1024]"
    )
    group.add_argument("--retry-refused", action="store_true", help="send what the server refused again")
    group.add_argument("--json", action="store_true", help="print the summary as JSON on standard output")


def watch(options: argparse.Namespace) -> int:
    """Run the agent; returns the exit code.

    Raises:
        CommandError: No server or no key was named.
        WatchError: Something that it needs is not as it should be.
    """
    check_server(options)
    try:
        import cv2  # noqa: F401
        import scipy.optimize  # noqa: F401
    except ImportError as error:
        raise WatchError(f"the camera agent needs more than the client: {INSTALL} ({error})") from error
    # The modules need what was just looked for.
    from peca_client.watch.agent import Agent
    from peca_client.watch.detectors import open_detector
    from peca_client.watch.sending import Sender
    from peca_client.watch.sources import open_source
    from peca_client.watch.spool import Spool

    source = open_source(options.source, options.fps, options.start, options.once)
    detector = open_detector(options.detector, options.threshold, options.person_class)
    with (
        Spool(options.spool or _default_spool(options.camera), round(options.spool_mb * 1e6)) as spool,
        PecaClient(options.url, options.api_key, retries=0) as client,
        _stopping() as (stop, leave_now),
    ):
        if options.retry_refused:
            say(f"{spool.retry_refused()} refused crops are sent again")
        sender = Sender(client, spool, say)
        agent = Agent(_rules(options), detector, spool, say)
        began = time.monotonic()
        sender.start()
        say(f"watching {_shown(options.source)} as {options.camera}; stop with Ctrl-C")
        try:
            agent.run(source, stop, sender.check)
        finally:
            sender.finish(options.patience, leave_now)
        path = Path(options.source).absolute()
        if not agent.counts["frames"] and (spool.note(path) or spool.noted(path)):
            say(
                f"no new frame: those of {_shown(options.source)} were looked at before, by the spool's "
                "notes; to begin anew, give another --spool"
            )
        summary = {
            "camera": options.camera,
            "seconds": round(time.monotonic() - began, 1),
            **{name: agent.counts[name] for name in _COUNTED},
            "sent": {name: sender.counts[name] for name in ("stored", "unchanged", "conflict", "refused")},
            "waiting": spool.waiting(),
            "refused": spool.refused(),
            "spool": str(spool.folder),
        }
        _print_summary(summary, options.json)
        if sender.key_refused:
            return Exit.FAILED
        return Exit.LATER if summary["waiting"] else Exit.REFUSED if summary["refused"] else Exit.DONE


_COUNTED = ("frames", "people", "tracks", "short", "spooled", "blurred", "tiny", "dropped")


def _rules(options: argparse.Namespace) -> Any:
    from peca_client.watch.agent import CameraRules
    from peca_client.watch.crops import CropRules

    return CameraRules(
        camera_id=options.camera,
        modality=None if options.modality == "auto" else Modality(options.modality),
        crops=CropRules(options.crops, options.min_height, options.min_sharpness),
        threshold=options.threshold,
        least_hits=options.min_hits,
        lost_s=options.lost,
    )


@contextmanager
def _stopping() -> Iterator[tuple[threading.Event, threading.Event]]:
    """Events of a first and a second SIGINT or SIGTERM."""
    stop, leave_now = threading.Event(), threading.Event()

    def asked(number: int, _: object) -> None:
        if stop.is_set():
            leave_now.set()
        else:
            say(f"{signal.Signals(number).name}: stops once all is sent; again: at once, the rest waits")
        stop.set()

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop, leave_now
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(message: str) -> None:
    """A message for people, on standard error."""
    print(f"{datetime.now():%H:%M:%S} {message}", file=sys.stderr, flush=True)


def _print_summary(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary))
        return
    sent = summary["sent"]
    print(
        f"{counted(summary['frames'], 'frame')}, {counted(summary['people'], 'sighting')}, "
        f"{tracks_told(summary)}"
    )
    print(
        f"{counted(summary['spooled'], 'crop')} kept; left out: {summary['blurred']} blurred, "
        f"{summary['tiny']} tiny, {summary['dropped']} for want of space"
    )
    print(f"sent: {sent['stored']} new, {sent['unchanged']} known before, {sent['conflict']} in conflict")
    if summary["waiting"] or summary["refused"]:
        print(f"in {summary['spool']}: {summary['waiting']} wait, {summary['refused']} were refused")


def _default_spool(camera: str) -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "peca-client" / quote(camera, safe="")


def _shown(source: str) -> str:
    from peca_client.watch.sources import without_password

    return without_password(source)


def _at_least(least: float) -> Any:
    def read(text: str) -> float:
        if not (number := float(text)) >= least:
            raise argparse.ArgumentTypeError(f"expected at least {least}, got {text}")
        return number

    read.__name__ = "number"
    return read


def _above_zero(text: str) -> float:
    if not 0 < (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return number


def _class_number(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"expected at least 0, got {text}")
    return number


def _share(text: str) -> float:
    if not 0 <= (number := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"expected 0 to 1, got {text}")
    return number
