"""A folder in an S3 bucket: list, read, write on a condition, delete. Every failure of the network is a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

from clnm.errors import StoreError

SCHEME = "s3://"
ABSENT = "*"
"""As a condition: only where there is no such object."""
_TIMEOUT_SECONDS = 10
_ATTEMPTS = 5
_BEATEN = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}


class BeatenError(Exception):
    """The condition of a write does not hold: somebody else wrote."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object's content, its tag, and how long ago it was written by the server's own clock."""

    content: bytes
    tag: str
    age_s: float


class Bucket:
    """`s3://bucket/prefix`. Credentials, region and endpoint come from where every AWS tool finds them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._name, _, prefix = url.removeprefix(SCHEME).strip("/").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        retries = {"mode": "standard", "total_max_attempts": _ATTEMPTS}
        config = Config(connect_timeout=_TIMEOUT_SECONDS, retries=retries, max_pool_connections=16)
        return boto3.client("s3", config=config)

    def tags(self) -> dict[str, str]:
        """Every object below the prefix: its path and its tag."""
        with _told():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=self._prefix)
            return {
                found["Key"].removeprefix(self._prefix): found["ETag"]
                for page in pages
                for found in page.get("Contents", ())
            }

    def read(self, path: str) -> Found | None:
        """An object; None where there is none."""
        with _told():
            try:
                answer = self._client.get_object(Bucket=self._name, Key=self._prefix + path)
            except self._client.exceptions.NoSuchKey:
                return None
            content = answer["Body"].read()
        told: datetime = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return Found(content, answer["ETag"], (told - answer["LastModified"]).total_seconds())

    def write(self, path: str, content: bytes, *, over: str | None = None) -> str:
        """Put an object and return its tag.

        Args:
            path: below the prefix.
            content: the whole of it.
            over: the tag that it must still have, or `ABSENT`; None writes over whatever is there.

        Raises:
            BeatenError: the condition does not hold. Not when it is this very content that lies there: then an earlier
                attempt arrived of which only the answer was lost.
        """
        condition = {} if over is None else {"IfNoneMatch": ABSENT} if over == ABSENT else {"IfMatch": over}
        try:
            with _told():
                answer = self._client.put_object(Bucket=self._name, Key=self._prefix + path, Body=content, **condition)
            return str(answer["ETag"])
        except BeatenError:
            found = self.read(path)
            if found is None or found.content != content:
                raise
            return found.tag

    def delete(self, paths: list[str]) -> None:
        """Remove objects; those that are not there are no error."""
        for start in range(0, len(paths), 1000):
            keys = [{"Key": self._prefix + path} for path in paths[start : start + 1000]]
            with _told():
                answer = self._client.delete_objects(Bucket=self._name, Delete={"Objects": keys, "Quiet": True})
            if answer.get("Errors"):
                raise StoreError(f"the bucket refuses to delete ({answer['Errors'][0]['Code']}); see its rights")


@contextmanager
def _told() -> Iterator[None]:
    """What the network or the server does not give, as a sentence without a name of either."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _BEATEN:
            raise BeatenError from None
        raise StoreError(f"the bucket answers {code}; see [store] root, its credentials and rights") from None
    except BotoCoreError as error:
        raise StoreError(
            f"the bucket cannot be reached ({type(error).__name__}); the last state is intact, run again when mended"
        ) from None
