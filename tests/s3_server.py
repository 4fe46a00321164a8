"""moto's S3 on the loopback, with a switch: it refuses writes of a kind, or stops answering."""

import logging
import threading
from dataclasses import dataclass, field

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server


@dataclass
class S3Server:
    """One server of its own port; it refuses each PUT and deletion whose address holds the text `refuse`."""

    refuse: str | None = None
    _server: BaseWSGIServer | None = None
    _app: object = field(default_factory=lambda: DomainDispatcherApplication(create_backend_app))
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def start(self, port=0):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", port, self._answer, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self):
        return self._server.server_port

    def environment(self):
        """What tells every AWS tool to come here."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def _answer(self, environ, start_response):
        address = f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        is_write = environ["REQUEST_METHOD"] in ("PUT", "DELETE") or "?delete" in address
        with self._one_at_a_time:
            if is_write and self.refuse and self.refuse in address:
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                start_response("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", "0")])
                return [b""]
            return list(self._app(environ, start_response))
