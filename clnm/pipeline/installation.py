"""One installation opened: its settings, its store, and its places on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from clnm.archive.center import login_variable
from clnm.archive.dicomweb import SCHEME, WebArchive
from clnm.archive.intake import CenterArchive
from clnm.archive.pseudonyms import Pseudonyms
from clnm.archive.sources import Root
from clnm.archive.tables import TableFormat
from clnm.entities import Role
from clnm.errors import ConfigurationError, nearest
from clnm.features.networks import BACKBONES
from clnm.settings import CenterSettings, Settings, read_authorization, read_pseudonym_key, read_settings
from clnm.store import Bucket, Mirror, Store


@dataclass(frozen=True, slots=True)
class Installation:
    """What `clnm.toml` describes; `home` is the folder it lies in."""

    home: Path
    settings: Settings
    store: Store

    @property
    def root(self) -> Path:
        """The store's folder; of a store in a bucket, its mirror."""
        return self.path(self.settings.store.folder)

    @property
    def pixels(self) -> Path:
        """The private pixel cache."""
        return self.root / "private" / "pixels"

    @property
    def programs(self) -> Path:
        """The networks as workers run them: made again where they are missing."""
        return self.root / "private" / "programs"

    @property
    def link_file(self) -> Path:
        """The public half of the link key: with it intake seals who a patient is."""
        return self.path(self.settings.pseudonyms.link_file)

    @property
    def link_key_file(self) -> Path:
        """Where the link key itself lies unless another person took it away."""
        return self.link_file.with_suffix(".key")

    @property
    def centers(self) -> tuple[str, ...]:
        """The configured centers, in the order of the file."""
        return tuple(center.name for center in self.settings.center)

    @property
    def train_centers(self) -> tuple[str, ...]:
        """The centers whose cases may be trained on."""
        return tuple(center.name for center in self.settings.center if center.role is Role.TRAIN)

    @property
    def workers(self) -> int:
        """Worker processes of a local cluster."""
        return self.settings.compute.workers or len(os.sched_getaffinity(0))

    def path(self, relative: str) -> Path:
        """A path of the file, made absolute."""
        return (self.home / relative).absolute()

    def root_of(self, entry: str, center: str) -> Root:
        """An archive entry: a path, or a DICOMweb server with its login from the environment."""
        if not entry.startswith(SCHEME):
            return self.path(entry)
        variables = (login_variable(kind, center) for kind in ("TOKEN", "USER", "PASSWORD"))
        return WebArchive(entry.removeprefix(SCHEME), read_authorization(*variables))

    def center_archive(self, name: str) -> CenterArchive:
        """What intake is told of one center.

        Raises:
            ConfigurationError: no such center.
        """
        return self._archive(self._center(name))

    def lookback_days(self, name: str) -> int:
        """Of how many days a center's DICOMweb servers list studies; 0: of all."""
        return self._center(name).dicomweb.lookback_days

    def pseudonyms(self) -> Pseudonyms:
        """The keyed hashes of this installation."""
        settings = self.settings.pseudonyms
        first_names = {center.name: center.formerly[0] for center in self.settings.center if center.formerly}
        key = read_pseudonym_key(self.path(settings.key_file))
        return Pseudonyms(key, shifts_dates=settings.shift_dates, first_names=first_names)

    def _center(self, name: str) -> CenterSettings:
        found = [center for center in self.settings.center if center.name == name]
        if not found:
            raise ConfigurationError(f"no center {name!r}; {nearest(name, self.centers)}")
        return found[0]

    def _archive(self, center: CenterSettings) -> CenterArchive:
        def optional(relative: str | None) -> Path | None:
            return None if relative is None else self.path(relative)

        table = center.table
        return CenterArchive(
            name=center.name,
            role=center.role,
            archive=tuple(self.root_of(entry, center.name) for entry in center.archive),
            masks=tuple(self.path(entry) for entry in center.masks),
            index=optional(center.index),
            clinical=optional(center.clinical),
            outcomes=optional(center.outcomes),
            columns=center.columns,
            values=center.values,
            table=TableFormat(table.separator, table.decimal, table.dayfirst, table.encoding),
            first_name=next(iter(center.formerly), ""),
        )


def open_installation(config: Path) -> Installation:
    """Read the settings and open the store (which need not exist yet); of one in a bucket, its present state.

    Raises:
        ConfigurationError: the settings are missing or wrong.
        StoreError: the bucket cannot be reached.
    """
    settings = read_settings(config)
    home = config.parent.absolute()
    root = (home / settings.store.folder).absolute()
    mirror = Mirror(Bucket(settings.store.root), root) if settings.store.root != settings.store.folder else None
    store = Store(
        root,
        variables=settings.variables(),
        outcome=settings.outcome.name,
        embedding_size=BACKBONES.get(settings.deep.backbone),
        mirror=mirror,
    )
    store.pull()
    return Installation(home, settings, store)
