"""Forms in which FAISS can hold a gallery, on one site: build, latency at equal recall, a filter, memory.

What was chosen of them is ``peca``: the segments of ``index/embedded/segments.py`` with the search of
``index/embedded/ann.py``, without a disk. All forms are searched by one thread. Usage: forms.py --help
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gallery import OTHERS, TARGET, machine, recall, warm_up
from numpy.typing import NDArray
from rivals import imported
from site_of_people import FILTERS, K, Site, answers, passing

from index.embedded import ann
from index.embedded.columns import RowFilter
from index.embedded.growing import GrowingIndex
from index.embedded.scan import selector
from index.records import ImageRecord

FILTER = "10 %"
faiss = imported("faiss")
Search = Callable[[NDArray[np.float32], bool, int], list[int]]
"""From a (1, D) query, whether to filter, and an effort, to the numbers of what was found."""


@dataclass(frozen=True)
class Built:
    """A form that holds the site.

    Attributes:
        search: As told there.
        bytes_each: Of one vector, in memory.
        efforts: What ``search`` takes, from the quickest on.
        filters: Whether it takes a filter.
    """

    search: Search
    bytes_each: float
    efforts: tuple[int, ...] = (0,)
    filters: bool = True


def of_faiss(
    factory: str, rows: NDArray[np.float32], allowed: NDArray[np.bool_], efforts: tuple[int, ...]
) -> Built:
    """One of FAISS's own forms; an effort is HNSW's ef, IVF's cells, or how many times k are scored again."""
    index = faiss.index_factory(rows.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.train(rows)
    index.add(rows)
    chosen = selector(allowed)

    def parameters(filtered: bool, effort: int) -> Any:
        among = {"sel": chosen} if filtered else {}
        if factory.startswith("HNSW"):
            return faiss.SearchParametersHNSW(efSearch=effort, **among)
        if factory.startswith("IVF"):
            return faiss.SearchParametersIVF(nprobe=effort, **among)
        if "Refine" in factory:
            coarse = faiss.SearchParameters(**among) if filtered else None
            return faiss.IndexRefineSearchParameters(k_factor=effort, base_index_params=coarse)
        return faiss.SearchParameters(**among)

    def search(query: NDArray[np.float32], filtered: bool, effort: int) -> list[int]:
        _, found = index.search(query, K, params=parameters(filtered, effort))
        return [int(number) for number in found[0] if number >= 0]

    size = len(faiss.serialize_index(index)) / len(rows)
    try:
        search(rows[:1], True, efforts[0])
    except RuntimeError:
        return Built(search, size, efforts, filters=False)
    return Built(search, size, efforts)


def of_peca(records: list[ImageRecord], rows: NDArray[np.float32]) -> Built:
    """The embedded gallery's index, with the vectors in memory in the place of SQLite."""
    limits = ann.Limits()
    index = GrowingIndex(rows.shape[1], lambda positions: (positions, rows[positions]), limits)
    described = [(n, str(one.modality), one.camera_id, 0, None) for n, one in enumerate(records)]
    for start in range(0, len(rows), 4096):
        index.append(described[start : start + 4096], rows[start : start + 4096])
        while index.take_in():
            pass
    while index.step():
        pass

    def search(query: NDArray[np.float32], filtered: bool, _: int) -> list[int]:
        among = RowFilter(FILTERS[FILTER], index.vocabulary, None, None, None) if filtered else None
        found = ann.search(index.view, query, K, among, exact=False, fetch=index._fetch, limits=limits)
        return [position for position, _ in found[0]]

    size = sum(
        len(part.columns) * (part.codec.dim + sum(tier.code_bytes for tier in part.codec.tiers))
        for part in index.view.coded
    )
    return Built(search, (size + index.view.flat.rows.nbytes) / len(rows))


def forms(
    records: list[ImageRecord], rows: NDArray[np.float32], graphs: bool
) -> Iterator[tuple[str, Callable[[], Built]]]:
    """Names, and what builds each."""
    dim, efforts = rows.shape[1], (16, 32, 64, 128, 256, 512, 1024)
    allowed = passing(FILTERS[FILTER], records)
    factories = {"Flat": (0,), "SQfp16": (0,), "SQ8": (0,), "IVF1024,SQ8": efforts}
    if graphs:
        factories["HNSW32,SQ8"] = efforts
    for width in (32, 8, 4):
        factories[f"PQ{dim // width}x4fs,Refine(SQ8)"] = (1, 2, 4, 8, 16, 32, 64, 128)
    factories["RaBitQ,Refine(SQ8)"] = (1, 2, 4, 8, 16, 32, 64, 128)
    for factory, tried in factories.items():
        yield factory, lambda factory=factory, tried=tried: of_faiss(factory, rows, allowed, tried)  # type: ignore[misc]
    yield "peca", lambda: of_peca(records, rows)


def measured(built: Built, site: Site, expected: NDArray[np.int64], filtered: bool) -> str:
    """Median milliseconds of a query at the least effort that reaches the recall, or else the most of it."""
    if filtered and not built.filters:
        return "takes no filter"
    sought, others, most, told = site.sought(), site.sought(OTHERS), -1.0, ""
    for effort in built.efforts:
        warm_up(others, lambda query: built.search(query[np.newaxis], filtered, effort))  # noqa: B023
        times, found = [], []
        for query in sought:
            began = time.perf_counter()
            found.append(built.search(query[np.newaxis], filtered, effort))
            times.append(1000 * (time.perf_counter() - began))
        reached = recall(found, expected)
        if reached > most:
            most, told = reached, f"{np.median(times):.2f} ({reached:.3f})"
        if reached >= TARGET:
            break
    return told


def main() -> None:
    """Build every form of every site, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000], help="images of each site")
    parser.add_argument("--dims", type=int, nargs="+", default=[512, 2048], help="lengths of a vector")
    parser.add_argument("--queries", type=int, default=100, help="people sought")
    parser.add_argument("--no-graphs", action="store_true", help="leave out HNSW, which takes long to build")
    options = parser.parse_args()
    print(machine())
    for count in options.sizes:
        for dim in options.dims:
            site = Site(count, dim, options.queries)
            chunks = list(site.chunks())
            records = [record for some, _ in chunks for record in some]
            rows, expected = np.concatenate([some for _, some in chunks]), answers(site)
            del chunks
            print(f"\n### {count:,} x {dim}\n\n| form | build s | bytes a vector | all | {FILTER} |")
            print("|---|---|---|---|---|", flush=True)
            for name, build in forms(records, rows, graphs=not options.no_graphs):
                faiss.omp_set_num_threads(2)
                began = time.perf_counter()
                built = build()
                took = time.perf_counter() - began
                faiss.omp_set_num_threads(1)
                cells = [measured(built, site, expected[key], key != "none") for key in ("none", FILTER)]
                print(f"| {name} | {took:.1f} | {built.bytes_each:,.0f} | {' | '.join(cells)} |", flush=True)
                print(f"{name}: done", file=sys.stderr)


if __name__ == "__main__":
    main()
