"""Each route of the API as a pure pair: how its request is built, and how its answer is read.

Nothing here sends anything, so the blocking and the asynchronous client share all of it.
"""

import json
import os
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

import httpx

from peca_client.batches import Batch, named, read_image
from peca_client.errors import (
    ConnectionFailed,
    InvalidArgument,
    ProblemError,
    UnexpectedAnswer,
    UntrustedServer,
    problem_error,
)
from peca_client.models import (
    AUTO,
    AuditPage,
    Camera,
    EncoderInUse,
    Image,
    ImagePage,
    ImageSource,
    ImageUpload,
    IngestItem,
    IngestReport,
    IngestStatus,
    Modality,
    Quality,
    Readiness,
    Removal,
    SearchPage,
    SearchRecord,
    SearchResult,
    Stats,
    Verdict,
    VerdictRecord,
    Version,
)
from peca_client.pages import Part
from peca_client.retry import Again, RetryPolicy, retry_after_s, tls_fault

_T = TypeVar("_T")
_File = tuple[str, tuple[str, bytes]]

# OpenSSL's numbers of what is wrong with a certificate: for another host or address; by an unknown authority.
_CERTIFICATE_ADVICE = {
    **dict.fromkeys((62, 64), "address it by a name that the certificate is for"),
    **dict.fromkeys(
        (18, 19, 20, 21),
        "where the site has an authority of its own, name that authority's PEM file in SSL_CERT_FILE",
    ),
}


def _succeeded(response: httpx.Response) -> bool:
    return response.is_success


@dataclass(frozen=True, slots=True)
class Call(Generic[_T]):
    """One call of the API.

    Attributes:
        method: The HTTP method.
        path: Below the server's address.
        read: From a successful answer to the value.
        form: The form's fields; a list is a field that stands several times.
        files: The form's files: field, (file name, bytes).
        body: The JSON body.
        query: The query string's parameters.
        understands: Whether an answer is for ``read``; any other is a problem.
        again: When a failed attempt is made again.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], _T]
    form: Mapping[str, str | list[str]] | None = None
    files: Sequence[_File] | None = None
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str | list[str]] | None = None
    understands: Callable[[httpx.Response], bool] = _succeeded
    again: Again = Again.ALWAYS

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request, by the address and headers of ``http``."""
        return http.build_request(
            self.method, self.path, data=self.form, files=self.files, json=self.body, params=self.query
        )

    def wait_s(
        self, policy: RetryPolicy, attempt: int, outcome: httpx.Response | httpx.RequestError
    ) -> float | None:
        """Seconds until the next attempt, or ``None`` where this outcome stands."""
        return policy.wait_s(attempt, outcome) if self.again.after(outcome) else None

    def result(self, outcome: httpx.Response | httpx.RequestError) -> _T:
        """The value of the last attempt's outcome.

        Raises:
            PecaClientError: There was no answer, a refusal, or an answer of something else than PECA.
        """
        if isinstance(outcome, httpx.RequestError):
            raise no_answer(outcome) from outcome
        if outcome.status_code >= 400 and not self.understands(outcome):
            raise refused(outcome)
        try:
            return self.read(outcome)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnexpectedAnswer(
                f"{outcome.request.method} {outcome.request.url} answered {outcome.status_code}, "
                f"which is no answer of a PECA server ({type(error).__name__}: {error}); check the address"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """What every search takes; the attributes are the arguments of ``PecaClient.search``."""

    gallery_modality: str | None
    limit: int
    camera_ids: Sequence[str] | None
    exclude_camera_ids: Sequence[str] | None
    after: datetime | None
    before: datetime | None
    score_threshold: float | None
    group_by: str | None
    rerank: bool
    exact: bool
    case: str | None
    reason: str | None

    def form(self) -> dict[str, str | list[str]]:
        """The fields of the form that were given."""
        score = self.score_threshold
        form = {
            **_filters(
                self.gallery_modality, self.camera_ids, self.exclude_camera_ids, self.after, self.before
            ),
            "limit": str(self.limit),
            "score_threshold": None if score is None else repr(float(score)),
            "group_by": self.group_by,
            "rerank": "true" if self.rerank else None,
            "exact": "true" if self.exact else None,
            "case": self.case,
            "reason": self.reason,
        }
        named = {"gallery_modality" if key == "modality" else key: value for key, value in form.items()}
        return _given(named)


def search(
    image: ImageSource | Sequence[ImageSource],
    query_modality: str | Sequence[str],
    options: SearchOptions,
) -> Call[SearchResult]:
    """``POST /search``; the arguments are those of ``PecaClient.search``."""
    images: Sequence[ImageSource] = image if isinstance(image, (list, tuple)) else [cast(ImageSource, image)]
    if not images:
        raise InvalidArgument("a search needs at least one image")
    lights = [query_modality] if isinstance(query_modality, str) else list(query_modality)
    allowed = (*Modality, AUTO)
    if not all(light in allowed for light in lights):
        raise InvalidArgument(f"query_modality must be one of {', '.join(allowed)}; got {query_modality!r}")
    if len(lights) not in (1, len(images)):
        raise InvalidArgument(
            f"query_modality must be one for all images, or one for each: {len(images)}, not {len(lights)}"
        )
    files = [("image", (name or "image", data)) for name, data in map(read_image, images)]
    form = {"query_modality": list(map(str, lights)), **options.form()}
    return Call("POST", "/search", _from_object(SearchResult.from_json), form=form, files=files)


def search_by_image(image_id: str, options: SearchOptions) -> Call[SearchResult]:
    """``POST /images/{image_id}/search``; the arguments are those of ``PecaClient.search_by_image``."""
    path = _image_path(image_id) + "/search"
    return Call("POST", path, _from_object(SearchResult.from_json), form=options.form())


def add_images(batch: Batch) -> Call[IngestReport]:
    """``POST /images`` with the uploads of ``batch``."""
    if not len(batch):
        raise InvalidArgument("add_images needs at least one image")
    # Names of digits pass through every multipart parser; the report gets the uploads' own names back.
    metadata = [_metadata(one.upload, str(number)) for number, one in enumerate(batch.items)]
    return Call(
        "POST",
        "/images",
        partial(_read_report, batch=batch),
        form={"metadata": json.dumps(metadata)},
        files=[("images", (str(number), one.data)) for number, one in enumerate(batch.items)],
        understands=_reports,
    )


def image(image_id: str) -> Call[Image]:
    """``GET /images/{image_id}``."""
    return Call("GET", _image_path(image_id), _from_object(Image.from_json))


def thumbnail(image_id: str) -> Call[bytes]:
    """``GET /images/{image_id}/thumbnail``."""
    return Call("GET", _image_path(image_id) + "/thumbnail", partial(_read_file, kind="image/"))


def image_file(image_id: str) -> Call[bytes]:
    """``GET /images/{image_id}/file``."""
    return Call("GET", _image_path(image_id) + "/file", partial(_read_file, kind="image/"))


def delete_image(image_id: str) -> Call[None]:
    """``DELETE /images/{image_id}``."""
    return Call("DELETE", _image_path(image_id), _read_nothing)


def images(
    *,
    modality: str | None,
    camera_ids: Sequence[str] | None,
    exclude_camera_ids: Sequence[str] | None,
    after: datetime | None,
    before: datetime | None,
    person_ids: Sequence[str] | None,
    track_ids: Sequence[str] | None,
    case: str | None,
    reason: str | None,
    limit: int,
    cursor: str | None,
) -> Call[ImagePage]:
    """``GET /images``; the arguments are those of ``PecaClient.images``."""
    query = _given(
        {
            **_filters(modality, camera_ids, exclude_camera_ids, after, before, person_ids, track_ids),
            "case": case,
            "reason": reason,
            "limit": str(limit),
            "cursor": cursor,
        }
    )
    return Call("GET", "/images", _from_object(ImagePage.from_json), query=query)


def delete_images(
    *,
    dry_run: bool,
    modality: str | None,
    camera_ids: Sequence[str] | None,
    exclude_camera_ids: Sequence[str] | None,
    after: datetime | None,
    before: datetime | None,
    person_ids: Sequence[str] | None,
    track_ids: Sequence[str] | None,
) -> Call[Removal]:
    """``DELETE /images``; the arguments are those of ``PecaClient.delete_images``."""
    filters = _filters(modality, camera_ids, exclude_camera_ids, after, before, person_ids, track_ids)
    query = _given({**filters, "dry_run": "true" if dry_run else "false"})
    return Call("DELETE", "/images", _from_object(Removal.from_json), query=query)


def stats() -> Call[Stats]:
    """``GET /stats``."""
    return Call("GET", "/stats", _from_object(Stats.from_json))


def quality() -> Call[Quality]:
    """``GET /quality``."""
    return Call("GET", "/quality", _from_object(Quality.from_json))


def reload_encoder() -> Call[EncoderInUse]:
    """``POST /encoder/reload``."""
    return Call("POST", "/encoder/reload", _from_object(EncoderInUse.from_json))


def searches(case: str | None, limit: int, cursor: str | None) -> Call[SearchPage]:
    """``GET /searches``; the arguments are those of ``PecaClient.searches``."""
    query = _given({"case": case, "limit": str(limit), "cursor": cursor})
    return Call("GET", "/searches", _from_object(SearchPage.from_json), query=query)


def export_search(search_id: str, also: Sequence[str]) -> Call[bytes]:
    """``GET /searches/{search_id}/export``."""
    read = partial(_read_file, kind="application/zip")
    return Call("GET", _search_path(search_id) + "/export", read, query={"also": list(also)})


def search_record(search_id: str) -> Call[SearchRecord]:
    """``GET /searches/{search_id}``."""
    return Call("GET", _search_path(search_id), _from_object(SearchRecord.from_json))


def verdict_body(verdict: str, note: str | None) -> dict[str, str]:
    """What a verdict says, whatever it is on.

    Raises:
        InvalidArgument: There is no such verdict.
    """
    if verdict not in tuple(Verdict):
        raise InvalidArgument(f"verdict must be one of {', '.join(Verdict)}; got {verdict!r}")
    return {"verdict": str(verdict)} | ({} if note is None else {"note": note})


def give_verdict(search_id: str, image_id: str, verdict: str, note: str | None) -> Call[VerdictRecord]:
    """``POST /searches/{search_id}/verdicts``."""
    body = {"image_id": image_id, **verdict_body(verdict, note)}
    path = _search_path(search_id) + "/verdicts"
    return Call("POST", path, _from_object(VerdictRecord.from_json), body=body)


def audit(
    *,
    after: datetime | None,
    before: datetime | None,
    key: str | None,
    case: str | None,
    action: str | None,
    limit: int,
    cursor: str | None,
) -> Call[AuditPage]:
    """``GET /audit``; the arguments are those of ``PecaClient.audit``."""
    query = {
        "after": None if after is None else _instant(after, "after"),
        "before": None if before is None else _instant(before, "before"),
        "key": key,
        "case": case,
        "action": action,
        "limit": str(limit),
        "cursor": cursor,
    }
    return Call("GET", "/audit", _from_object(AuditPage.from_json), query=_given(query))


def cameras(cursor: str | None) -> Call[Part[Camera]]:
    """``GET /cameras``."""
    return listed("/cameras", Camera.from_json, cursor)


def listed(path: str, read: Callable[[Any], _T], cursor: str | None) -> Call[Part[_T]]:
    """A page, as large as the server gives, of a list that seldom has several."""
    query = {} if cursor is None else {"cursor": cursor}
    return Call("GET", path, partial(Part.read, read), query=query)


def version() -> Call[Version]:
    """``GET /version``."""
    return Call("GET", "/version", _from_object(Version.from_json))


def check_key() -> Call[None]:
    """``GET /session``, which says of a key that is taken only that it needs no session."""
    return Call("GET", "/session", lambda _: None, understands=_takes_key)


def health() -> Call[bool]:
    """``GET /healthz``."""
    return Call("GET", "/healthz", _succeeded, again=Again.NEVER)


def ready() -> Call[Readiness]:
    """``GET /readyz``; 503 is an answer here, not a failure."""
    return Call("GET", "/readyz", _read_readiness, understands=_tells_readiness, again=Again.NEVER)


def checked_base_url(base_url: str) -> httpx.URL:
    """The server's address.

    Raises:
        InvalidArgument: It is not an http or https address.
    """
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError) as error:
        raise InvalidArgument(
            f"expected the server's address, such as http://127.0.0.1:8000: {error}"
        ) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidArgument(
            f"expected the server's address, such as http://127.0.0.1:8000; got {base_url!r}"
        )
    return url


def headers(api_key: str | None) -> dict[str, str]:
    """The headers of every request.

    Raises:
        InvalidArgument: The key has characters that no header can carry. The message does not show it.
    """
    if api_key is None:
        return {}
    if not (api_key.isascii() and api_key.isprintable() and api_key.strip()):
        raise InvalidArgument("api_key must be printable ASCII text, such as peca_...")
    return {"Authorization": f"Bearer {api_key.strip()}"}


@contextmanager
def trusted_authorities() -> Iterator[None]:
    """Where a client is made: it reads whose certificates it trusts, of which OpenSSL names no file.

    Raises:
        InvalidArgument: They cannot be read.
    """
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
        raise InvalidArgument(
            f"SSL_CERT_FILE expects a PEM file of authorities; {named} cannot be read as one: {error}"
        ) from None


def _metadata(upload: ImageUpload, filename: str) -> dict[str, str]:
    members = {
        "filename": filename,
        "camera_id": upload.camera_id,
        "modality": _modality(upload.modality, "modality"),
        "captured_at": _instant(upload.captured_at, "captured_at"),
        "image_id": upload.image_id,
        "person_id": upload.person_id,
        "track_id": upload.track_id,
        "source": upload.source,
    }
    return {name: value for name, value in members.items() if value is not None}


def _modality(value: str, name: str) -> str:
    if value not in tuple(Modality):
        raise InvalidArgument(f"{name} must be one of {', '.join(Modality)}; got {value!r}")
    return str(value)


def _instant(value: datetime, name: str) -> str:
    if value.utcoffset() is None:
        raise InvalidArgument(f"{name} must carry a time zone (for example UTC), got {value.isoformat()}")
    return value.isoformat()


def _strings(values: Sequence[str] | None, name: str) -> list[str] | None:
    if isinstance(values, str):
        raise InvalidArgument(f"{name} must be a sequence of strings, got the string {values!r}")
    if values is not None and not len(values):
        raise InvalidArgument(f"{name} must name something; leave it out to filter by none")
    return None if values is None else list(values)


def _filters(
    modality: str | None,
    camera_ids: Sequence[str] | None,
    exclude_camera_ids: Sequence[str] | None,
    after: datetime | None,
    before: datetime | None,
    person_ids: Sequence[str] | None = None,
    track_ids: Sequence[str] | None = None,
) -> dict[str, str | list[str] | None]:
    """The conditions on images that searches and lists share."""
    return {
        "modality": None if modality is None else _modality(modality, "modality"),
        "camera_ids": _strings(camera_ids, "camera_ids"),
        "exclude_camera_ids": _strings(exclude_camera_ids, "exclude_camera_ids"),
        "after": None if after is None else _instant(after, "after"),
        "before": None if before is None else _instant(before, "before"),
        "person_ids": _strings(person_ids, "person_ids"),
        "track_ids": _strings(track_ids, "track_ids"),
    }


def _given(values: Mapping[str, str | list[str] | None]) -> dict[str, str | list[str]]:
    return {name: value for name, value in values.items() if value is not None}


def _image_path(image_id: str) -> str:
    if not image_id or image_id in (".", ".."):
        raise InvalidArgument(f"image_id must name an image, got {image_id!r}")
    return f"/images/{quote(image_id, safe='')}"


def _search_path(search_id: str) -> str:
    if not search_id or search_id in (".", ".."):
        raise InvalidArgument(f"search_id must name a search, got {search_id!r}")
    return f"/searches/{quote(search_id, safe='')}"


def _from_object(read: Callable[[Mapping[str, Any]], _T]) -> Callable[[httpx.Response], _T]:
    return lambda response: read(_object(response))


def _object(response: httpx.Response) -> Mapping[str, Any]:
    value = response.json()
    if not isinstance(value, dict):
        raise TypeError(f"expected a JSON object, got {type(value).__name__}")
    return value


def _read_report(response: httpx.Response, batch: Batch) -> IngestReport:
    items = [
        IngestItem(
            filename=str(item["filename"]),
            status=IngestStatus(item["status"]),
            image_id=item.get("image_id"),
            problem=item.get("problem"),
        )
        for item in _object(response)["items"]
    ]
    return named(IngestReport(tuple(items)), batch)


def _reports(response: httpx.Response) -> bool:
    """A batch refused image by image is a problem too, with its report inside."""
    return response.is_success or "items" in _problem(response)


def _read_file(response: httpx.Response, kind: str) -> bytes:
    told = response.headers.get("content-type", "")
    if not told.startswith(kind):
        raise ValueError(f"expected {kind}, got {told or 'no content type'}")
    return response.content


def _read_nothing(response: httpx.Response) -> None:
    if not response.is_success:
        raise ValueError("expected a success")


def _tells_readiness(response: httpx.Response) -> bool:
    return response.is_success or response.status_code == httpx.codes.SERVICE_UNAVAILABLE


def _takes_key(response: httpx.Response) -> bool:
    return response.is_success or _problem(response).get("type") == "urn:peca:problem:session-missing"


def _read_readiness(response: httpx.Response) -> Readiness:
    if response.is_success:
        return Readiness(True)
    return Readiness(False, str(_problem(response).get("detail") or "not ready"))


def _problem(response: httpx.Response) -> Mapping[str, Any]:
    """The problem+json of an answer, or one made of its status where a proxy answered instead."""
    try:
        return _object(response)
    except (TypeError, ValueError):
        return {"status": response.status_code, "title": response.reason_phrase}


def refused(response: httpx.Response) -> ProblemError:
    """The error of an answer that was read and tells of a problem."""
    return problem_error(response.status_code, _problem(response), retry_after_s(response))


def no_answer(error: httpx.RequestError) -> ConnectionFailed | UnexpectedAnswer:
    """The error of a request that met no answer, or lost it on the way."""
    url = error.request.url
    what = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        return ConnectionFailed(
            f"{url} did not answer in time ({type(error).__name__}); is the server overloaded?"
        )
    if isinstance(fault := tls_fault(error), ssl.SSLCertVerificationError):
        advice = _CERTIFICATE_ADVICE.get(fault.verify_code, "see to the server's certificate")
        return UntrustedServer(f"the certificate of {url} is refused: {fault.verify_message}; {advice}")
    if isinstance(error, httpx.TransportError):
        where = "is a PECA server running there?"
        if fault is not None and fault.reason == "WRONG_VERSION_NUMBER":
            what, where = "it does not speak TLS", "does its address begin with http:// instead?"
        elif isinstance(error, httpx.RemoteProtocolError) and url.scheme == "http":
            where = "is a PECA server running there, and does its address begin with https:// instead?"
        return ConnectionFailed(f"no answer from {url}: {what.rstrip('.')}; {where}")
    return UnexpectedAnswer(f"{url} answered with what cannot be read: {what}; check the address")
