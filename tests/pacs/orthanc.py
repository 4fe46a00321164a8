"""A real Orthanc for the tests: its own folder, free ports of the loopback, started, stopped and started again."""

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PLUGIN = next(Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so*"), None)
USER, PASSWORD = "clnm", "a-word-of-the-test"
SECONDS = 60


def installed(program):
    """Where the system has a program; a virtual environment has some of the same names, from pynetdicom."""
    return shutil.which(program, path="/usr/local/bin:/usr/bin:/usr/sbin")


def need(*programs):
    """The mark of tests that need programs of Debian's packages orthanc, orthanc-dicomweb and dcmtk."""
    missing = [name for name in programs if installed(name) is None]
    if "Orthanc" in programs and PLUGIN is None:
        missing.append("the DICOMweb plugin of Orthanc")
    sentence = f"not installed: {', '.join(missing)}; apt-get install orthanc orthanc-dicomweb dcmtk"
    return pytest.mark.skipif(bool(missing), reason=sentence)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Orthanc:
    """One server. `modalities` are the DICOM nodes it may send to and be sent to by: title, port of the loopback."""

    directory: Path
    modalities: dict = field(default_factory=dict)
    http: int = field(default_factory=free_port)
    dicom: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http}/dicom-web"

    def start(self):
        self.directory.mkdir(exist_ok=True)
        config = self.directory / "orthanc.json"
        config.write_text(json.dumps(self._settings()), encoding="utf-8")
        log = (self.directory / "orthanc.log").open("ab")
        program = installed("Orthanc")
        self.process = subprocess.Popen([program, str(config)], stdout=log, stderr=log, cwd=self.directory)
        give_up = time.monotonic() + SECONDS
        while time.monotonic() < give_up:
            with contextlib.suppress(OSError):
                self.ask("/system")
                return self
            assert self.process.poll() is None, "Orthanc ended at its start"
            time.sleep(0.05)
        raise AssertionError("Orthanc did not start")

    def stop(self, *, kill=False):
        if self.process is not None:
            self.process.kill() if kill else self.process.terminate()
            self.process.wait(SECONDS)
            self.process = None

    def ask(self, path, body=None, method=None):
        """A call of Orthanc's own REST interface."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=body, method=method)
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=SECONDS) as answer:
            return json.loads(answer.read() or b"null")

    def store(self, *contents):
        """Files put in by REST; says under which names Orthanc keeps them."""
        return [self.ask("/instances", content)["ID"] for content in contents]

    def _settings(self):
        return {
            "Name": "clnm test",
            "StorageDirectory": str(self.directory / "db"),
            "IndexDirectory": str(self.directory / "db"),
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomCheckModalityHost": True,
            "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": False,
            "UnknownSopClassAccepted": True,
            "DicomModalities": {
                name: {"AET": name, "Host": "127.0.0.1", "Port": port} for name, port in self.modalities.items()
            },
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }


@contextlib.contextmanager
def orthanc(directory, **modalities):
    """A server that is gone when the test is."""
    server = Orthanc(directory, modalities)
    try:
        yield server.start()
    finally:
        server.stop(kill=True)
