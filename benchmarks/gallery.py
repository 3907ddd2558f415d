"""The embedded gallery and six other engines on one site: build, latency at equal recall, filters, memory.

Each engine runs in a process of its own, so that its memory is its own. Usage: gallery.py --help
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rivals import ENGINES, Engine, Missing
from site_of_people import FILTERS, K, Site, answers

from index.gallery import Device

TARGET = 0.99
WARM_S = 1.0
OTHERS = 3
REMOVED_AT_ONCE = 1000
PACKAGES = ["numpy", "faiss-cpu", "faiss-gpu", "hnswlib", "usearch", "lancedb", "milvus-lite", "pymilvus"]


def resident_gb() -> float:
    """What this process holds in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def recall(found: list[list[int]], expected: NDArray[np.int64]) -> float:
    """The share of the exact answers that were found."""
    hits = sum(len(set(row) & set(best[best >= 0])) for row, best in zip(found, expected, strict=True))
    return float(hits / max((expected >= 0).sum(), 1))


def warm_up(others: NDArray[np.float32], search: Callable[[NDArray[np.float32]], object]) -> None:
    """Search other people than those of the measurement until what a start does beside them is over."""
    ended = time.perf_counter() + WARM_S
    for query in cycle(others):
        search(query)
        if time.perf_counter() > ended:
            return


def measure(engine: Engine, site: Site, expected: dict[str, NDArray[np.int64]]) -> dict[str, Any]:
    """Search by every filter; where an engine has an effort to set, the least that reaches the target."""
    sought, others = site.sought(), site.sought(OTHERS)
    rows = {}
    for name, where in FILTERS.items():
        for effort in engine.efforts:
            warm_up(others, lambda query: engine.search(query, K, where, effort))  # noqa: B023
            times, found = [], []
            for query in sought:
                began = time.perf_counter()
                found.append(engine.search(query, K, where, effort))
                times.append(1000 * (time.perf_counter() - began))
            reached = recall(found, expected[name])
            rows[name] = {
                "effort": effort,
                "recall": round(reached, 4),
                "p50_ms": round(float(np.percentile(times, 50)), 2),
                "p99_ms": round(float(np.percentile(times, 99)), 2),
                "too_few": sum(
                    len(row) < int((best >= 0).sum()) for row, best in zip(found, expected[name], strict=True)
                ),
            }
            if reached >= TARGET:
                break
    return rows


def beside_inserts(engine: Engine, site: Site, batches: int) -> dict[str, float]:
    """Add batches of 256 durably while another thread searches."""
    sought, done, times = site.sought(), Event(), []

    def look() -> None:
        while not done.is_set():
            for query in sought:
                began = time.perf_counter()
                engine.search(query, K, FILTERS["none"], engine.efforts[0])
                times.append(1000 * (time.perf_counter() - began))
                if done.wait(0.01):  # a hundred searches a second at most: a server, not a stress test
                    return

    extra = Site(256 * batches, site.dim, per_person=site.per_person)
    prepared = [
        ([type(r)(f"new-{r.image_id}", r.modality, r.camera_id, r.captured_at) for r in records], rows)
        for records, rows in extra.chunks()
    ]
    thread = Thread(target=look)
    thread.start()
    began = time.perf_counter()
    for records, rows in prepared:
        for start in range(0, len(records), 256):
            engine.add(records[start : start + 256], rows[start : start + 256])
    took = time.perf_counter() - began
    done.set()
    thread.join()
    return {
        "vectors_per_s": round(extra.count / took),
        "search_p50_ms": round(float(np.percentile(times, 50)), 2),
        "search_p99_ms": round(float(np.percentile(times, 99)), 2),
        "searches": len(times),
    }


def run_one(name: str, site: Site, folder: Path, insert_batches: int) -> dict[str, Any]:
    """Build one engine and measure it; in a process of its own."""
    stored = np.load(folder / "answers.npz")
    expected = {name: stored[name] for name in FILTERS}
    load_before = os.getloadavg()[0]
    engine = ENGINES[name](site.dim, folder / name)
    began = time.perf_counter()
    for records, rows in site.chunks():
        engine.add_many(records, rows)
    drawn = time.perf_counter() - began - engine.busy_s
    engine.finish()
    report: dict[str, Any] = {
        "engine": name,
        "build_s": round(engine.busy_s, 1),
        "drawing_s": round(drawn, 1),
    }
    if opened_again := engine.restarted():
        engine, report["start_s"] = opened_again
    removed = np.flatnonzero(site.removed(np.arange(site.count))).tolist()
    for start in range(0, len(removed), REMOVED_AT_ONCE):
        engine.remove(removed[start : start + REMOVED_AT_ONCE])
    report["searches"] = measure(engine, site, expected)
    report["resident_gb"] = round(resident_gb(), 2)
    report["peak_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
    if engine.durable and insert_batches:
        report["inserts"] = beside_inserts(engine, site, insert_batches)
    report["disk_gb"] = round(
        sum(p.stat().st_size for p in (folder / name).rglob("*") if p.is_file()) / 1e9, 2
    )
    engine.close()
    report["load"] = [load_before, os.getloadavg()[0]]
    return report


def in_own_process(
    name: str, site: Site, folder: Path, insert_batches: int, timeout_s: int
) -> dict[str, Any]:
    """``run_one`` in a new process; what went wrong in place of a report."""
    told = [str(number) for number in (*astuple(site), insert_batches)]
    try:
        done = subprocess.run(
            [sys.executable, __file__, "--one", name, str(folder), *told],
            stdout=subprocess.PIPE,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return {"engine": name, "failed": f"took more than {timeout_s} s"}
    if done.returncode or not done.stdout.strip():
        return {"engine": name, "failed": f"ended with {done.returncode}"}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def markdown(site: Site, reports: list[dict[str, Any]]) -> str:
    """The tables of one site."""
    lines = [
        f"### {site.count:,} x {site.dim}, about {site.per_person} images a person, {site.queries} queries"
        + (f", one of {site.remove_every} removed again" if site.remove_every else ""),
        "",
        "| engine | build s | start s | GB in memory | GB on disk | filter | recall@20 | p50 ms | p99 ms "
        "| too few |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for report in reports:
        if "failed" in report:
            lines.append(f"| {report['engine']} | {report['failed']} | | | | | | | | |")
            continue
        head = [report["engine"], report["build_s"], report.get("start_s", ""), report["resident_gb"]]
        head.append(report["disk_gb"])
        for name, row in report["searches"].items():
            cells = [*head, name, f"{row['recall']:.4f}", row["p50_ms"], row["p99_ms"], row["too_few"]]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
            head = [""] * 5
    for report in reports:
        if "inserts" in report:
            told = report["inserts"]
            lines += [
                "",
                f"{report['engine']}: {told['vectors_per_s']:,} vectors/s in batches of 256 that outlive the "
                f"process; {told['searches']} searches beside them: p50 {told['search_p50_ms']} ms, "
                f"p99 {told['search_p99_ms']} ms",
            ]
    loads = [f"{load:.1f}" for report in reports for load in report.get("load", [])]
    return "\n".join([*lines, "", f"load average before and after each engine: {', '.join(loads)}", ""])


def machine() -> str:
    """What this ran on."""
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    cores = len(os.sched_getaffinity(0))
    return f"{cpu}, {cores} cores, Python {platform.python_version()}, {', '.join(versions)}"


def main() -> None:
    """Measure every engine on every site, and write Markdown and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000], help="images of each site")
    parser.add_argument("--dims", type=int, nargs="+", default=[2048], help="lengths of a vector")
    parser.add_argument("--engines", nargs="+", default=["peca"], choices=[*ENGINES, "all"])
    parser.add_argument("--queries", type=int, default=200, help="people sought, by each filter")
    parser.add_argument("--per-person", type=int, default=50, help="images of a person")
    parser.add_argument("--remove-every", type=int, default=0, help="remove one of so many again (peca)")
    parser.add_argument("--insert-batches", type=int, default=40, help="of 256, beside searches; 0 for none")
    parser.add_argument("--timeout-s", type=int, default=1800, help="for each engine and site")
    parser.add_argument("--folder", type=Path, help="where galleries are built (default: a temporary folder)")
    parser.add_argument("--out", type=Path, help="also write OUT.md and OUT.json")
    parser.add_argument("--device", default="cpu", choices=list(Device), help="what searches peca's gallery")
    options = parser.parse_args()
    os.environ["PECA_DEVICE"] = options.device  # for the processes of the engines
    names = list(ENGINES) if "all" in options.engines else options.engines
    text, content = [machine(), ""], []
    for count in options.sizes:
        for dim in options.dims:
            site = Site(count, dim, options.queries, options.per_person, options.remove_every)
            reports = []
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                np.savez(Path(folder) / "answers.npz", **answers(site))  # type: ignore[arg-type]
                for name in names:
                    reports.append(
                        in_own_process(name, site, Path(folder), options.insert_batches, options.timeout_s)
                    )
                    print(json.dumps(reports[-1]), file=sys.stderr)
            text.append(markdown(site, reports))
            content.append({"images": count, "dim": dim, "per_person": site.per_person, "engines": reports})
    print("\n".join(text))
    if options.out:
        options.out.with_suffix(".md").write_text("\n".join(text))
        options.out.with_suffix(".json").write_text(
            json.dumps({"machine": machine(), "sites": content}, indent=2)
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        name, folder, *numbers = sys.argv[2:]
        *drawn, insert_batches = map(int, numbers)
        try:
            print(json.dumps(run_one(name, Site(*drawn), Path(folder), insert_batches)))
        except Missing as missing:
            print(json.dumps({"engine": name, "failed": str(missing)}))
    else:
        main()
