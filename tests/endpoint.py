"""A server that answers chat completions as a script says, in place of an OpenAI-compatible endpoint."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(*texts: str, reason: str = "stop", tokens: int = 10) -> dict:
    choices = [
        {"index": i, "finish_reason": reason, "message": {"role": "assistant", "content": text}} for i, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}


def error(message: str) -> dict:
    return {"error": {"message": message, "type": "error", "code": None}}


class Endpoint:
    """reply(body, k) -> (status, dict or text, headers): called for the k-th request. `asked` keeps (body, key, when)."""

    def __init__(self, reply, seconds: float = 0.0):
        self.reply, self.seconds = reply, seconds
        self.asked: list[tuple[dict, str, float]] = []
        self.busiest = self._busy = 0
        self._lock = threading.Lock()

    @property
    def prompts(self) -> list[str]:
        return [body["messages"][-1]["content"] for body, _, _ in self.asked]

    @contextlib.contextmanager
    def serving(self):
        """Yields the address."""
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with endpoint._lock:
                    k = len(endpoint.asked)
                    endpoint.asked.append((body, self.headers["authorization"] or "", time.monotonic()))
                    endpoint._busy += 1
                    endpoint.busiest = max(endpoint.busiest, endpoint._busy)
                time.sleep(endpoint.seconds)
                with endpoint._lock:
                    endpoint._busy -= 1
                status, said, *headers = endpoint.reply(body, k)
                data = (said if isinstance(said, str) else json.dumps(said)).encode()
                with contextlib.suppress(OSError):  # who asked may be gone
                    self.send_response(status)
                    for name, value in {
                        "content-type": "application/json",
                        "content-length": len(data),
                        **dict(*headers),
                    }.items():
                        self.send_header(name, str(value))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            server.server_close()
