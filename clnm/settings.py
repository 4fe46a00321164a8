"""`clnm.toml` and the environment, read once into frozen values; nobody below this layer sees them.

A key can be overridden by `CLNM_<TABLE>__<KEY>`. Secrets never live here: `read_pseudonym_key` finds them in the
environment or a file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import stat
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from clnm.entities import ClinicalVariable, Role, VariableKind
from clnm.errors import ConfigurationError, nearest

MIN_KEY_BYTES = 32
_KEY_VARIABLE = "CLNM_PSEUDONYM_KEY"
_LOGIN_VARIABLE = "CLNM_DICOMWEB_"
_SERVER = re.compile(r"dicomweb\+https?://[^/@?#\s]+(/[^@?#\s]*)?")
_AE_TITLE = r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$"
"""Up to 16 printable characters but the backslash (PS3.5 6.2); spaces at the ends mean nothing."""
_CENTER_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
_NOT_IN_HASH = {"compute", "schedule", "monitor", "pseudonyms", "receive", "store"}
"""Tables of the file that change no stored value, or that name places."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(_Table):
    """`[store]`."""

    root: str = "store"
    mirror: str = "mirror"

    @field_validator("root")
    @classmethod
    def _is_a_folder_or_bucket(cls, root: str) -> str:
        if "://" in root and not re.fullmatch(r"s3://[^/]+(/.*)?", root):
            raise ValueError("a folder, or s3://bucket/prefix")
        return root

    @property
    def folder(self) -> str:
        """Where the store is on this machine: its root, or the mirror of the bucket."""
        return self.mirror if self.root.startswith("s3://") else self.root


class OutcomeSettings(_Table):
    """`[outcome]`."""

    name: str = Field(default="clnm", pattern=r"^[a-z][a-z0-9_]*$")


class PseudonymSettings(_Table):
    """`[pseudonyms]`."""

    key_file: str = "secrets/pseudonym.key"
    link_file: str = "secrets/link.pub"
    shift_dates: bool = False


class TableSettings(_Table):
    """`[center.table]`: how this hospital writes its CSV files."""

    separator: str | None = None
    decimal: Literal[".", ","] = "."
    dayfirst: bool = False
    encoding: str | None = None


class DicomwebSettings(_Table):
    """`[center.dicomweb]`: how a DICOMweb server among the center's archive entries is asked."""

    lookback_days: int = Field(default=0, ge=0)


class CenterSettings(_Table):
    """`[[center]]`."""

    name: str = Field(pattern=_CENTER_NAME)
    formerly: tuple[Annotated[str, Field(pattern=_CENTER_NAME)], ...] = ()
    role: Role
    archive: tuple[str, ...] = Field(min_length=1)
    masks: tuple[str, ...] = ()
    index: str | None = None
    clinical: str | None = None
    outcomes: str | None = None
    columns: dict[str, str] = {}
    values: dict[str, dict[str, Any]] = {}
    table: TableSettings = TableSettings()
    dicomweb: DicomwebSettings = DicomwebSettings()

    @field_validator("archive")
    @classmethod
    def _are_places(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            if "://" in entry and not _SERVER.fullmatch(entry):
                raise ValueError(
                    "an archive entry is a path or dicomweb+http(s)://host/dicom-web; logins come from the environment"
                )
        return entries

    @field_validator("masks")
    @classmethod
    def _are_on_the_disk(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        if any("://" in entry for entry in entries):
            raise ValueError("masks are on the disk: name folders, .zip or .tar files")
        return entries


class VariableSettings(_Table):
    """One line of `[clinical]`."""

    type: VariableKind
    unit: str = ""
    min: float | None = None
    max: float | None = None
    levels: tuple[str, ...] = ()


class RadiomicsSettings(_Table):
    """`[radiomics]`."""

    params: str = "radiomics.yaml"
    engine: Literal["fast", "pyradiomics"] = "fast"


class DeepSettings(_Table):
    """`[deep]`."""

    enabled: bool = True
    backbone: str = "resnet18"
    weights: str = ""
    precision: Literal["float32", "bfloat16"] = "float32"
    fine_tune_epochs: int = Field(default=0, ge=0)


class ComputeSettings(_Table):
    """`[compute]`."""

    scheduler: str = Field(default="local", pattern=r"^(local|tcp://.+|tls://.+)$")
    workers: int = Field(default=0, ge=0)
    memory_per_worker_gib: float = Field(default=2.0, gt=0)


class QualitySettings(_Table):
    """`[quality]`."""

    max_quarantined_fraction: float = Field(default=0.05, ge=0, le=1)


class MonitorSettings(_Table):
    """`[monitor]`."""

    reference_days: int = Field(default=365, gt=0)
    current_days: int = Field(default=30, gt=0)
    false_alarm_rate: float = Field(default=0.05, gt=0, lt=1)


class ReceiveSettings(_Table):
    """`[receive]`."""

    center: str = ""
    address: str = "127.0.0.1"
    port: int = Field(default=11112, ge=0, le=65535)
    ae_title: str = Field(default="CLNM", pattern=_AE_TITLE)
    callers: tuple[Annotated[str, Field(pattern=_AE_TITLE)], ...] = ()


class ScheduleSettings(_Table):
    """`[schedule]`."""

    nightly: str = "0 2 * * *"
    retrain: str = "0 4 1 * *"


class Settings(BaseSettings):
    """One installation: everything `clnm.toml` says, overridden by `CLNM_*` variables."""

    model_config = SettingsConfigDict(env_prefix="CLNM_", env_nested_delimiter="__", extra="forbid", frozen=True)

    store: StoreSettings = StoreSettings()
    outcome: OutcomeSettings = OutcomeSettings()
    pseudonyms: PseudonymSettings = PseudonymSettings()
    center: tuple[CenterSettings, ...] = ()
    clinical: dict[str, VariableSettings] = {}
    radiomics: RadiomicsSettings = RadiomicsSettings()
    deep: DeepSettings = DeepSettings()
    compute: ComputeSettings = ComputeSettings()
    quality: QualitySettings = QualitySettings()
    monitor: MonitorSettings = MonitorSettings()
    receive: ReceiveSettings = ReceiveSettings()
    schedule: ScheduleSettings = ScheduleSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the name is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _centers_are_distinct(self) -> Settings:
        names = [center.name for center in self.center]
        if not names:
            raise ValueError("no [[center]] is configured")
        if len(set(names)) < len(names):
            raise ValueError("two [[center]] tables have the same name")
        ever = [*names, *(old for center in self.center for old in center.formerly)]
        if twice := sorted({name for name in ever if ever.count(name) > 1}):
            raise ValueError(f"[[center]] formerly: {twice[0]!r} is or was the name of another center, or stands twice")
        if self.outcome.name in self.clinical:
            raise ValueError(f"[clinical] {self.outcome.name} is the outcome; an outcome cannot predict itself")
        return self

    def variables(self) -> tuple[ClinicalVariable, ...]:
        """The clinical variables as entities, in the order of the file."""
        return tuple(
            ClinicalVariable(name, line.type, line.unit, line.min, line.max, line.levels)
            for name, line in self.clinical.items()
        )

    def config_hash(self) -> str:
        """Twelve hex digits over everything that can change a stored value; places, clocks and machines left out."""
        content = self.model_dump(mode="json", exclude=_NOT_IN_HASH)
        for center in content["center"]:
            for place in ("archive", "masks", "index", "clinical", "outcomes"):
                center.pop(place, None)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def read_settings(path: Path) -> Settings:
    """Read and check `clnm.toml`.

    Raises:
        ConfigurationError: the file is missing, no TOML, or says something it cannot mean; the sentence names the key.
    """
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except FileNotFoundError:
        raise ConfigurationError(
            f"no {path.name} here; write one with `clnm init .` or name it with --config"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path.name} is not TOML: {error}") from None
    except OSError as error:
        raise ConfigurationError(f"{path.name} cannot be read: {error.strerror}") from None
    _refuse_unknown_variables()
    try:
        return Settings(**content)
    except ValidationError as error:
        sentences = [_sentence(line["loc"], line["type"], line["msg"]) for line in error.errors(include_url=False)]
        raise ConfigurationError(f"{path.name}: " + "; ".join(sentences)) from None


def template() -> str:
    """The commented `clnm.toml` that `clnm init` writes."""
    return resources.files("clnm").joinpath("template.toml").read_text(encoding="utf-8")


def default_radiomics() -> str:
    """The pyradiomics parameter file that `clnm init` writes: the published design's image types and classes."""
    return resources.files("clnm").joinpath("radiomics.yaml").read_text(encoding="utf-8")


def read_pseudonym_key(key_file: Path) -> bytes:
    """The key of all pseudonyms: `CLNM_PSEUDONYM_KEY`, else the content of `key_file` (mode 0600 demanded).

    Raises:
        ConfigurationError: there is none, it is too short, or others may read it.
    """
    if text := os.environ.get(_KEY_VARIABLE):
        return _long_enough(text.encode(), _KEY_VARIABLE)
    if not key_file.is_file():
        raise ConfigurationError(
            f"no pseudonym key: set {_KEY_VARIABLE} (at least {MIN_KEY_BYTES} bytes) or put one in the file that "
            "[pseudonyms] key_file names; `clnm init` makes one"
        )
    if stat.S_IMODE(key_file.stat().st_mode) & 0o077:
        raise ConfigurationError(
            "others may read the pseudonym key; chmod 600 the file that [pseudonyms] key_file names"
        )
    return _long_enough(key_file.read_bytes().strip(), "[pseudonyms] key_file")


def read_authorization(token: str, user: str, password: str) -> str:
    """The Authorization header that three environment variables give: a token's, else a user's, else none.

    Raises:
        ConfigurationError: a user without password.
    """
    if value := os.environ.get(token):
        return f"Bearer {value}"
    if name := os.environ.get(user):
        if (word := os.environ.get(password)) is None:
            raise ConfigurationError(f"{user} is set and {password} is not; set both")
        return "Basic " + base64.b64encode(f"{name}:{word}".encode()).decode("ascii")
    return ""


def make_pseudonym_key(key_file: Path) -> bool:
    """Make a random key (mode 0600) where there is none; says whether it did."""
    if key_file.exists() or os.environ.get(_KEY_VARIABLE):
        return False
    key_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_hex(MIN_KEY_BYTES).encode() + b"\n")
    return True


def _long_enough(key: bytes, where: str) -> bytes:
    if len(key) < MIN_KEY_BYTES:
        raise ConfigurationError(f"{where} holds {len(key)} bytes, needs {MIN_KEY_BYTES}; a short key can be guessed")
    return key


def _refuse_unknown_variables() -> None:
    tables = {name.upper() for name in Settings.model_fields}
    for variable in os.environ:
        if variable.startswith("CLNM_") and "__" in variable and not variable.startswith(_LOGIN_VARIABLE):
            table = variable.removeprefix("CLNM_").split("__", 1)[0].upper()
            if table not in tables:
                raise ConfigurationError(
                    f"environment variable {variable}: no table {table.lower()!r}; "
                    + nearest(table.lower(), Settings.model_fields)
                )


def _sentence(location: tuple[int | str, ...], kind: str, message: str) -> str:
    place = ".".join(str(part) for part in location)
    if kind == "extra_forbidden":
        return f"unknown key {place!r}, {nearest(str(location[-1]), _known_keys(location[:-1]))}"
    if kind == "missing":
        return f"key {place!r} is needed"
    message = message.removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in location:
        if isinstance(part, int) or part not in model.model_fields:
            continue
        annotation = model.model_fields[part].annotation
        models = [
            kind
            for kind in (annotation, *get_args(annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        if models:
            model = models[0]
    return list(model.model_fields)
