"""What was searched, what people found of the results, and who looks at that."""

from index.records import Where
from server.access import Caller, Holder, Permission
from server.audit import Action, AuditLog
from server.chain import Link, Record
from server.errors import CaseMissing, ResultUnknown, SearchUnknown
from server.schemas import VerdictGiven
from server.services.search import filters_json
from server.settings import Settings
from server.trail import AuditFilter, AuditTrail


class Review:
    """Reads the audit log for people, and takes their verdicts; each reading is recorded too."""

    def __init__(self, audit: AuditLog, trail: AuditTrail, settings: Settings) -> None:
        self._audit = audit
        self._trail = trail
        self._settings = settings

    def listing(self, where: Where, case: str | None, reason: str | None, caller: Caller) -> None:
        """Record that the images of people or tracks are listed, which finds a person as a search does.

        Raises:
            CaseMissing: This server asks for a case and a reason, and one is missing.
            StorageUnavailable: The audit log cannot be written.
        """
        told = {"case": case, "reason": reason}
        missing = [name for name, text in told.items() if not (text or "").strip()]
        if self._settings.require_case and missing:
            raise CaseMissing(
                "this server asks each list of people or tracks for its case and its reason; "
                f"{' and '.join(missing)} missing"
            )
        self._audit.append(Action.READ, caller, listed="images", **told, filters=filters_json(where))

    def keys(self, caller: Caller) -> None:
        """Record that the keys are listed.

        Raises:
            StorageUnavailable: The audit log cannot be written.
        """
        self._audit.append(Action.READ, caller, listed="keys")

    def search(self, search_id: str, caller: Caller) -> tuple[Record, list[Record]]:
        """The record of a search and the verdicts on its results, oldest first.

        Raises:
            SearchUnknown: There is none within the limits of the caller.
            RecordBroken: One of these records was changed after it was written.
            StorageUnavailable: The audit log cannot be read or written.
        """
        return self._read(search_id, caller)

    def export(self, search_id: str, caller: Caller) -> tuple[Record, list[Record]]:
        """The same for a copy that leaves the server, which is recorded as such.

        Raises:
            PecaError: As of ``search``.
        """
        return self._read(search_id, caller, export="zip")

    def searches(
        self, case: str | None, cursor: int | None, limit: int, caller: Caller
    ) -> tuple[list[Record], list[str], int | None]:
        """Searches, newest first; those of others only for who may audit.

        What a limited key may not know of is left out, so that a page may be short and not be the last.

        Returns:
            The searches, what is wrong with each record that was changed after it was written and is
            therefore not among them, and the cursor of the next page.

        Raises:
            StorageUnavailable: The audit log cannot be read or written.
        """
        key = None if caller.holder.may(Permission.AUDIT) else caller.holder.name
        wanted = AuditFilter(key=key, case=case, action=Action.SEARCH)
        self._audit.append(Action.READ, caller, filters=wanted.as_json(), cursor=cursor, limit=limit)
        lines, next_cursor = self._trail.page(wanted, cursor, limit)
        sound = [line.claims for line in lines if line.broken is None]
        broken = [line.where() for line in lines if line.broken is not None]
        return [record for record in sound if _is_within(record, caller.holder)], broken, next_cursor

    def judge(self, search_id: str, given: VerdictGiven, caller: Caller) -> Record:
        """Record a verdict; an earlier one of the same holder on the same image stays, superseded.

        Returns:
            The verdict as recorded.

        Raises:
            SearchUnknown: There is no such search within the limits of the caller.
            ResultUnknown: The search did not show this image.
            RecordBroken: The search's record, or that of a verdict on it, was changed after it was written.
            StorageUnavailable: The audit log cannot be read or written.
        """
        record = self._seen(search_id, caller.holder)
        if all(result["image_id"] != given.image_id for result in record["results"]):
            raise ResultUnknown(f"search {search_id} did not show an image {given.image_id!r}")
        # A broken one is noticed before this one is written.
        self._trail.verdicts(search_id)
        told = given.model_dump(mode="json")
        link = self._audit.append(
            Action.VERDICT, caller, search_id=search_id, case=record.get("case"), **told
        )
        return next(one for one in self._trail.verdicts(search_id) if one["sequence"] == link.sequence)

    def page(
        self, wanted: AuditFilter, cursor: int | None, limit: int, caller: Caller
    ) -> tuple[list[Record], int | None, Link]:
        """The newest records that fit, newest first, the cursor of the next page, and the chain's head.

        Of a record that was changed after it was written only that is told, and the text of its line.

        Raises:
            StorageUnavailable: The audit log cannot be read or written; what is not recorded is not read.
        """
        self._audit.append(Action.READ, caller, filters=wanted.as_json(), cursor=cursor, limit=limit)
        lines, next_cursor = self._trail.page(wanted, cursor, limit)
        return [line.told for line in lines], next_cursor, self._audit.head()

    def _seen(self, search_id: str, holder: Holder) -> Record:
        """A search that ``holder`` may know of: one that was kept within the cameras of the holder's key."""
        record = self._trail.search(search_id)
        if not _is_within(record, holder):
            raise SearchUnknown(f"the audit log holds no search {search_id!r}")
        return record

    def _read(self, search_id: str, caller: Caller, **facts: str) -> tuple[Record, list[Record]]:
        record = self._seen(search_id, caller.holder)
        self._audit.append(Action.READ, caller, search_id=search_id, **facts)
        return record, self._trail.verdicts(search_id)


def _is_within(record: Record, holder: Holder) -> bool:
    """Whether a search was kept within the cameras of the holder's key."""
    filters = record.get("filters", {})
    named = {*filters.get("camera_ids", ()), *filters.get("exclude_camera_ids", ())}
    kept = "camera_ids" in filters and all(map(holder.sees_camera, named))
    return holder.camera_ids is None or kept


def superseded(verdicts: list[Record]) -> list[bool]:
    """Of each verdict, oldest first, whether the same holder gave a later one on the same image."""
    latest = {(one["key"], one["image_id"]): position for position, one in enumerate(verdicts)}
    return [latest[one["key"], one["image_id"]] != position for position, one in enumerate(verdicts)]
