"""A DICOMweb server as an archive: listed and counted by QIDO-RS, fetched by WADO-RS in the original transfer syntax.

A path is `study/series/instance`, by UID. What the server counts and does not list, or lists and does not deliver, is
told like a file that cannot be read; a server that does not answer at all is away.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from clnm.archive.headers import may_be_wanted
from clnm.archive.walk import MAX_BYTES, FoundFile
from clnm.entities import Reason
from clnm.imaging.dicom import standard_uid
from clnm.imaging.refusal import UNTRUSTED, RefusedError

if TYPE_CHECKING:
    import httpx

SCHEME = "dicomweb+"
PAGE = 500
"""Answers asked for at once; a server that caps its pages lower is asked more often."""
UNKNOWN_SIZE = -1
"""QIDO tells no size."""
_ATTEMPTS, _PAUSE_SECONDS = 3, 0.3
_SECONDS = {"connect": 10.0, "read": 120.0, "write": 30.0, "pool": 120.0}
_UID = re.compile(r"[0-9][0-9.]{0,63}")
_BOUNDARY = re.compile(r'boundary="?([^";,\s]+)"?', re.IGNORECASE)
_SOP_CLASS, _MODALITY, _IN_STUDY, _IN_SERIES = "00080016", "00080060", "00201208", "00201209"
_STUDY, _SERIES, _INSTANCE, _SERIES_COUNT = "0020000D", "0020000E", "00080018", "00201206"
_LIST = {"Accept": "application/dicom+json"}
_FILE = {
    "Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*',  # not the server's: nothing is recoded
    "Accept-Encoding": "identity",
}


class AwayError(Exception):
    """The server does not answer, or does not let us in. The text says which, and names nothing."""


class _Listed(NamedTuple):
    study: str
    series: str
    instance: str
    sop_class: str
    modality: str


@dataclass(slots=True, repr=False)
class WebArchive:
    """One server, for one run: listed once, and what it did not deliver is not asked for a second time."""

    url: str
    """Without the `dicomweb+`."""
    authorization: str = ""
    """The header of that name; it comes from the environment."""
    since: date | None = None
    """Only studies of this day or later are listed; None: all."""
    is_away: bool = False
    """Set when it stopped answering: nothing more is asked of it in this run."""
    refusals: dict[bytes, RefusedError] = field(default_factory=dict)
    studies: frozenset[bytes] = frozenset()
    """Those that were listed."""
    _found: list[FoundFile] | None = None
    _client: httpx.Client | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def walk(self) -> list[FoundFile]:
        """Every instance of every study listed, in the order of paths.

        Raises:
            AwayError: the server does not answer, or refuses to list its studies.
        """
        if self._found is None:
            try:
                self._found = sorted(self._list())
            except RefusedError as refusal:
                raise AwayError(f"its list of studies was refused ({refusal.detail})") from None
        return self._found

    def greet(self) -> None:
        """See that the server answers and lets us in.

        Raises:
            AwayError: it does not.
        """
        try:
            self._page("studies", {"limit": "1"})
        except RefusedError as refusal:
            raise AwayError(f"its list of studies was refused ({refusal.detail})") from None

    def read(self, path: bytes) -> bytes:
        """The file of an instance, as it is stored at the server.

        Raises:
            RefusedError: it was not delivered; or not fetched, because the server is away.
        """
        if path in self.refusals:
            raise self.refusals[path]
        if self.is_away:
            raise RefusedError(Reason.NOT_FETCHED)
        try:
            study, series, instance = path.decode("ascii").split("/")
            content, kind = self._ask(f"studies/{study}/series/{series}/instances/{instance}", {}, _FILE)
            return _file_in(content, kind)
        except AwayError:
            self.is_away = True
            raise RefusedError(Reason.NOT_FETCHED) from None
        except RefusedError as refusal:
            self.refusals[path] = refusal
            raise

    def _list(self) -> Iterator[FoundFile]:
        wanted = {"includefield": _IN_STUDY}
        if self.since is not None:
            wanted["StudyDate"] = f"{self.since:%Y%m%d}-"
        studies = {_text(study, _STUDY): study for study in self._query("studies", _STUDY, wanted)}
        self.studies = frozenset(uid.encode() for uid in studies)
        for uid, study in sorted(studies.items()):
            try:
                yield from self._list_study(uid, study)
            except RefusedError as refusal:
                yield _short(uid, refusal.detail)

    def _list_study(self, uid: str, study: Mapping[str, Any]) -> Iterator[FoundFile]:
        """The instances of a study, and a line for what is counted and not listed."""
        series_count, count = _number(study, _SERIES_COUNT), _number(study, _IN_STUDY)
        series = self._query(f"studies/{uid}/series", _SERIES, {"includefield": _IN_SERIES}, enough=series_count)
        instances = [
            _Listed(uid, *(_text(item, tag) for tag in (_SERIES, _INSTANCE, _SOP_CLASS, _MODALITY)))
            for item in self._query(f"studies/{uid}/instances", _INSTANCE, {}, enough=count)
        ]
        instances = [listed for listed in instances if _UID.fullmatch(listed.series)]
        yield from map(_found, instances)
        in_series = Counter(listed.series for listed in instances)
        missing = (count or 0) - len(instances)
        for one in series:
            name, promised = _text(one, _SERIES), _number(one, _IN_SERIES) or 0
            if in_series[name] < promised:
                missing -= promised - in_series[name]
                yield _short(f"{uid}/{name}", f"{in_series[name]} of {promised} instances listed")
        if missing > 0:
            yield _short(uid, f"{len(instances)} of {count} instances listed")

    def _query(
        self, resource: str, key: str, parameters: Mapping[str, str], *, enough: int | None = None
    ) -> list[Mapping[str, Any]]:
        """All answers with a valid UID under `key`, page by page: until there are `enough`, or a page brings none."""
        found: dict[str, Mapping[str, Any]] = {}
        offset = 0
        while enough is None or len(found) < enough:
            page = self._page(resource, {**parameters, "limit": str(PAGE), "offset": str(offset)})
            fresh = {_text(item, key): item for item in page}
            offset += len(page)
            fresh = {uid: item for uid, item in fresh.items() if _UID.fullmatch(uid) and uid not in found}
            if not fresh:
                break
            found |= fresh
        return list(found.values())

    def _page(self, resource: str, parameters: Mapping[str, str]) -> list[Mapping[str, Any]]:
        import json

        content, _ = self._ask(resource, parameters, _LIST)
        try:
            page = json.loads(content) if content else []
            return [item for item in page if isinstance(item, dict)]
        except UNTRUSTED:
            raise RefusedError(Reason.NOT_DELIVERED, "no list") from None

    def _ask(self, resource: str, parameters: Mapping[str, str], headers: Mapping[str, str]) -> tuple[bytes, str]:
        """One answer's body and its type, after some attempts."""
        import httpx

        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE_SECONDS * 2**attempt)
            try:
                status, content, kind = self._ask_once(resource, parameters, headers)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                outcome: Exception = AwayError("it does not answer")
            except (httpx.HTTPError, httpx.InvalidURL):
                outcome = RefusedError(Reason.NOT_DELIVERED, "broken off")
            else:
                if status in {200, 204}:
                    return content, kind
                outcome = _refusal(status)
                if status not in {408, 429} and status < 500:
                    break
        raise outcome from None

    def _ask_once(
        self, resource: str, parameters: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[int, bytes, str]:
        content = bytearray()
        with self._opened().stream("GET", resource, params=parameters or None, headers=headers) as answer:
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise RefusedError(Reason.TOO_LARGE)
        return answer.status_code, bytes(content), answer.headers.get("Content-Type", "")

    def _opened(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._client is None:
                for name in ("httpx", "httpcore"):
                    logging.getLogger(name).setLevel(logging.CRITICAL)  # they tell addresses, and those hold UIDs
                login = {"Authorization": self.authorization} if self.authorization else {}
                self._client = httpx.Client(
                    base_url=self.url.rstrip("/") + "/", headers=login, timeout=httpx.Timeout(**_SECONDS)
                )
            return self._client

    def close(self) -> None:
        """Let the connections go."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _refusal(status: int) -> Exception:
    if status in {401, 403}:
        return AwayError(f"it refuses our login (status {status})")
    return RefusedError(Reason.NOT_DELIVERED, f"status {status}")


def _found(listed: _Listed) -> FoundFile:
    """An instance; one of a class that is not for us need not be fetched to be ignored."""
    path = f"{listed.study}/{listed.series}/{listed.instance}".encode()
    if listed.sop_class and not may_be_wanted(listed.sop_class, listed.modality):
        return FoundFile(path, UNKNOWN_SIZE, 0, 0, Reason.SOP_CLASS, standard_uid(listed.sop_class))
    return FoundFile(path, UNKNOWN_SIZE, 0, 0)


def _short(path: str, detail: str) -> FoundFile:
    return FoundFile(path.encode(), UNKNOWN_SIZE, 0, 0, Reason.NOT_DELIVERED, detail)


def _file_in(content: bytes, kind: str) -> bytes:
    """The one file of an answer, which is the file itself or a multipart message of one part (RFC 2046)."""
    if kind.lower().startswith("application/dicom"):
        return content
    named = _BOUNDARY.search(kind)
    if named is None:
        raise RefusedError(Reason.NOT_DELIVERED, "no file")
    line = b"--" + named.group(1).encode("latin-1")
    start = content.find(line)
    head = content.find(b"\r\n\r\n", start)
    end = content.find(b"\r\n" + line, head)
    if start < 0 or head < 0 or end < 0:
        raise RefusedError(Reason.NOT_DELIVERED, "cut")
    return content[head + 4 : end]


def _text(item: Mapping[str, Any], tag: str) -> str:
    """The first value of an element of DICOM JSON (PS3.18 F.2); nothing where there is none."""
    try:
        return str(item[tag]["Value"][0]).strip(" \x00")
    except UNTRUSTED:
        return ""


def _number(item: Mapping[str, Any], tag: str) -> int | None:
    text = _text(item, tag)
    return int(text) if text.isdecimal() else None
