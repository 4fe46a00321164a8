"""A DICOMweb server of the tests that can be told to count, list and deliver wrongly, as real ones do."""

import contextlib
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

LINE = "line-of-the-test"


class Lies:
    """What the server holds, `{(study, series, instance): bytes}`, and how it is wrong. `asked` counts its answers."""

    def __init__(self, held):
        self.held = dict(held)
        self.page = 1000
        self.unlisted, self.status_of, self.cut, self.dropped = set(), {}, set(), set()
        self.classes, self.dates = {}, {}
        self.ignores_offset = False
        self.status = 0
        self.dies_after = None
        self.asked = Counter()
        self.stopped = threading.Event()

    def answer(self, path, query):
        """(status, content type, body) of a request; None: the connection is dropped."""
        parts = path.strip("/").split("/")[1:]
        if self.status:
            return self.status, "text/plain", b"no"
        if len(parts) == 6:
            return self._deliver((parts[1], parts[3], parts[5]))
        kind = parts[-1]
        self.asked[kind] += 1
        items = getattr(self, f"_{kind}")(parts, query)
        offset = 0 if self.ignores_offset else int(query.get("offset", 0))
        page = items[offset : offset + min(self.page, int(query.get("limit", 10**6)))]
        return 200, "application/dicom+json", json.dumps(page).encode()

    def _deliver(self, name):
        self.asked["files"] += 1
        if self.dies_after is not None and self.asked["files"] > self.dies_after:
            self.stopped.set()
            return None
        if name in self.status_of:
            return self.status_of[name], "text/plain", b"no"
        if name in self.dropped:
            return None
        body = f"--{LINE}\r\nContent-Type: application/dicom\r\n\r\n".encode() + self.held[name]
        body += b"" if name in self.cut else f"\r\n--{LINE}--\r\n".encode()
        return 200, f'multipart/related; type="application/dicom"; boundary={LINE}', body

    def _studies(self, _parts, query):
        first = query.get("StudyDate", "0").rstrip("-")
        counts = Counter(study for study, _, _ in self.held)
        return [
            element("0020000D", study) | element("00201208", count)
            for study, count in counts.items()
            if self.dates.get(study, "20260101") >= first
        ]

    def _series(self, parts, _query):
        counts = Counter(series for study, series, _ in self.held if study == parts[1])
        return [element("0020000E", series) | element("00201209", count) for series, count in counts.items()]

    def _instances(self, parts, _query):
        return [
            element("0020000E", series)
            | element("00080018", instance)
            | element("00080016", self.classes.get((study, series, instance), "1.2.840.10008.5.1.4.1.1.6.1"))
            for study, series, instance in self.held
            if study == parts[1] and (study, series, instance) not in self.unlisted
        ]


def element(tag, value):
    return {tag: {"vr": "UI", "Value": [value]}}


@contextlib.contextmanager
def lying_server(lies):
    """Serve on a free port of the loopback; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            address = urlsplit(self.path)
            answer = None if lies.stopped.is_set() else lies.answer(address.path, dict(parse_qsl(address.query)))
            if answer is None:
                self.close_connection = True
                if lies.stopped.is_set():
                    threading.Thread(target=server.server_close).start()
                return
            status, kind, body = answer
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dicom-web"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
