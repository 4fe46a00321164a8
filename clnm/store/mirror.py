"""A store in a bucket: the bucket is the truth, a folder on this machine its mirror that everything reads and writes.

A commit puts its files first and replaces the bucket's manifest last, on the condition that it is still the one this
writer began from: two writers can never both win. What lies in `private/` never leaves the machine.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from clnm.errors import ConfigurationError, LockedError, StoreError
from clnm.store.bucket import ABSENT, BeatenError, Bucket, Found
from clnm.store.lease import LOCK, hold_lease
from clnm.store.manifest import NAME, Manifest, parse_manifest, replace_file, write_manifest

_STATE = "mirror.json"
_FOLDER_LOCK = "mirror.lock"
_OWN = {NAME, LOCK, _STATE, _FOLDER_LOCK, "catalog.duckdb"}
_OWN_FOLDERS = ("private/", "report/", "tables/empty/")
"""What belongs to this machine: paths of origin and pixels, and what is made anew when it is asked for."""
_SHARED_FOLDERS = ("tables", "staging", "models")
"""What the bucket has: nothing else of the folder is ever put there, nor deleted here."""
_LOG = "_delta_log/"
_LATEST = "_last_checkpoint"
"""The one file of a Delta table that is written over."""
_TRIES = 5
_THREADS = 8
_TAKEN_OVER = "another run wrote to the store's bucket meanwhile; nothing of this one was published, run again"

_BEHIND = (
    "the bucket has the commit, and the mirror's folder cannot be written; mend its disk and run again: nothing is lost"
)


class Mirror:
    """The folder `root` as the mirror of `bucket`."""

    def __init__(self, bucket: Bucket, root: Path) -> None:
        self._bucket, self._root = bucket, root
        self._machine = ""
        """By which a lease knows its own machine: a word of chance, made with the folder."""
        self._is_behind = False
        """Whether the bucket has a state that could not be written here."""
        self._tags: dict[str, str] = {}
        """The objects of the bucket that are here as they are there: path to tag. The manifest is among them."""

    def pull(self) -> bool:
        """Bring the folder to the bucket's present state; nothing where a run of this machine writes just now.

        Returns:
            Whether it was at another one before.

        Raises:
            ConfigurationError: the folder mirrors another bucket, or holds a store that the bucket has not.
            StoreError: the bucket cannot be reached, or lacks a file of its state.
        """
        with self._held_folder(waits=not self._is_written_here()) as is_held:
            if not is_held:
                return False
            self._read_state()
            manifest = self._bucket.read(NAME)
            if manifest is None:
                self._demand_no_store_here()
                self._demand_ours()
                return False
            is_new = manifest.tag != self._tags.get(NAME)
            if is_new:
                self._pull(manifest)
            return is_new

    @contextmanager
    def writing(self, holder: Mapping[str, object]) -> Iterator[None]:
        """Hold the bucket's lease and the folder for the length of a run; the caller holds the folder's own lock.

        Raises:
            LockedError: another machine's run holds the lease.
            ConfigurationError, StoreError: see `pull`.
        """
        with self._held_folder(waits=True):
            self._read_state()
            with hold_lease(self._bucket, {**holder, "machine": self._machine}):
                manifest = self._bucket.read(NAME)
                if manifest is None:
                    self._begin()
                else:
                    self._pull(manifest)
                yield
                self._sweep()

    def publish(self, manifest: Manifest) -> None:
        """Put what is new, data before logs, then the manifest over the one this run knows; then write it here.

        Raises:
            LockedError: another run was faster; nothing of this commit is visible.
            StoreError: the bucket cannot be reached, and the last state is intact; or the folder cannot be written,
                and the state of the bucket is ahead of it: nothing more is put until the folder followed.
        """
        if self._is_behind:
            raise StoreError(_BEHIND)
        new = [path for path in self._files() if path not in self._tags or path.endswith(_LATEST)]
        try:
            for is_log in (False, True):
                self._put(path for path in new if (_LOG in path) == is_log)
            content = manifest.to_json()
            self._tags[NAME] = self._bucket.write(NAME, content, over=self._tags.get(NAME, ABSENT))
        except BeatenError:
            raise LockedError(_TAKEN_OVER) from None
        self._is_behind = True
        try:
            write_manifest(self._root, manifest)
            self._write_state()
        except (StoreError, OSError) as error:
            raise StoreError(_BEHIND) from error
        self._is_behind = False

    def push_restored(self) -> None:
        """Put a store that was restored into the folder where the bucket has none.

        Raises:
            StoreError: the bucket has a store already.
        """
        with self._held_folder(waits=True):
            self._read_state()
            if self._bucket.read(NAME) is not None:
                raise StoreError("the bucket has a store already; name an empty prefix")
            self._tags = {}
            self.publish(parse_manifest((self._root / NAME).read_bytes()))

    def _begin(self) -> None:
        """An empty store first: tables without a manifest are then always a loss, never a beginning."""
        self._demand_no_store_here()
        if any(_LOG in path for path in self._bucket.tags()):
            raise StoreError("manifest.json of the bucket is gone though its tables are there; restore a backup")
        self._demand_ours()
        self._tags = {}
        self.publish(Manifest())

    def _demand_no_store_here(self) -> None:
        if (self._root / NAME).exists():
            raise ConfigurationError(
                "[store] mirror: the folder holds a store and the bucket has none; name an empty folder, or bring the "
                "store into the bucket by `clnm store backup` and `restore`"
            )

    def _demand_ours(self) -> None:
        """A folder becomes a mirror only while nothing is in it: what the bucket has not would be deleted."""
        if (self._root / _STATE).exists():
            return
        if any(path.name not in (LOCK, _FOLDER_LOCK) for path in self._root.iterdir()):
            raise ConfigurationError(
                "[store] mirror: the folder holds something and is no mirror of this bucket yet; name an empty folder"
            )
        self._write_state()

    def _pull(self, manifest: Found) -> None:
        """Fetch what the bucket has and the folder has not, take away what the bucket has not, then the manifest."""
        self._demand_ours()
        for _ in range(_TRIES):
            there = self._bucket.tags()
            state = parse_manifest(manifest.content)
            self._fetch(path for path, tag in there.items() if self._tags.get(path) != tag or not self._has(path))
            for path in [path for path in self._files() if path not in there]:
                (self._root / path).unlink(missing_ok=True)
            if all(self._has(path) for path in state.all_files() if not path.startswith(_OWN_FOLDERS)):
                replace_file(self._root / NAME, manifest.content)
                self._tags = {path: tag for path, tag in self._tags.items() if path in there} | {NAME: manifest.tag}
                self._write_state()
                self._is_behind = False
                return
            manifest = self._bucket.read(NAME) or manifest  # a writer went on meanwhile: its state is whole again
        raise StoreError("the bucket lacks files that its manifest names; `clnm store verify` on the writing machine")

    def _fetch(self, paths: Iterable[str]) -> None:
        def one(path: str) -> tuple[str, str | None]:
            found = self._bucket.read(path)
            if found is None:
                return path, None
            target = self._root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, found.content)
            return path, found.tag

        with ThreadPoolExecutor(_THREADS) as pool:
            for path, tag in pool.map(one, [path for path in paths if not _is_own(path)]):
                if tag:
                    self._tags[path] = tag

    def _put(self, paths: Iterable[str]) -> None:
        def one(path: str) -> tuple[str, str]:
            over = None if path.endswith(_LATEST) else ABSENT
            return path, self._bucket.write(path, (self._root / path).read_bytes(), over=over)

        with ThreadPoolExecutor(_THREADS) as pool:
            self._tags.update(pool.map(one, paths))

    def _sweep(self) -> None:
        """Delete from the bucket what is no longer here; nothing where it is ahead of the folder."""
        if self._is_behind:
            return
        here = set(self._files())
        gone = [path for path in self._tags if path not in here and path != NAME]
        self._bucket.delete(gone)
        for path in gone:
            del self._tags[path]
        self._write_state()

    def _files(self) -> list[str]:
        """The files of the folder that belong to the store, sorted."""
        found = [
            f"{Path(folder).relative_to(self._root).as_posix()}/{name}"
            for shared in _SHARED_FOLDERS
            for folder, _, names in os.walk(self._root / shared)
            for name in names
        ]
        return sorted(path for path in found if not _is_own(path))

    def _has(self, path: str) -> bool:
        return _is_own(path) or (self._root / path).is_file()

    def _read_state(self) -> None:
        """What is known of the folder; where that cannot be read, all is fetched again."""
        try:
            state = json.loads((self._root / _STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            state = {"url": self._bucket.url, "machine": secrets.token_hex(8), "tags": {}}
        if state["url"] != self._bucket.url:
            raise ConfigurationError("[store] mirror: the folder mirrors another bucket; name another folder")
        self._machine, self._tags = state["machine"], state["tags"]

    def _write_state(self) -> None:
        state = {"url": self._bucket.url, "machine": self._machine, "tags": self._tags}
        replace_file(self._root / _STATE, json.dumps(state).encode())

    def _is_written_here(self) -> bool:
        """Whether a run of this machine holds the folder's lock: its file is empty between runs."""
        try:
            return (self._root / LOCK).stat().st_size > 0
        except OSError:
            return False

    @contextmanager
    def _held_folder(self, *, waits: bool) -> Iterator[bool]:
        """Nobody else changes the folder within the block; False where that cannot be had without waiting."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._root / _FOLDER_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(f"the mirror cannot be written ({error.strerror}); see [store] mirror") from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)


def _is_own(path: str) -> bool:
    return path in _OWN or path.startswith(_OWN_FOLDERS) or path.endswith(".scratch")
