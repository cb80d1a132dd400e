"""An OpenAI-compatible endpoint that replies from a script, in this process."""

import contextlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CODE = re.compile(r"^Verdict ([0-9a-f]{8}): X$", re.MULTILINE)


@dataclass
class Play:
    """What to do with a request: states of HTTP that are sent first, then words. wait: seconds before, or between two bytes."""

    words: str = "Fine.\nVerdict {code}: correct"
    states: list[int] = field(default_factory=list)  # taken from the front, one a request
    headers: dict[str, str] = field(default_factory=dict)  # with a state
    code: str = ""  # likewise
    wait: float = 0.0
    drips: bool = False  # the reply comes byte by byte, without an end
    raw: bytes | None = None  # sent in place of a reply; b"" closes the connection
    kind: str = "application/json"
    finish: str = "stop"


class Endpoint(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, play):
        super().__init__(("127.0.0.1", 0), Handler)
        self.play = play  # question -> Play
        self.asked: list[dict] = []  # bodies, with the header of the key
        self.at_once = self.most = 0
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def questions(self) -> list[str]:
        return [body["messages"][0]["content"] for body in self.asked]

    def handle_error(self, request, client_address):
        pass  # a client that went away


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        server, body = self.server, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.asked.append(body | {"key": self.headers["Authorization"], "path": self.path})
            server.at_once += 1
            server.most = max(server.most, server.at_once)
            question = body["messages"][0]["content"]
            play = server.play(question)
            state = play.states.pop(0) if play.states else 200
        try:
            self.reply(play, state, question)
        finally:
            with server.lock:
                server.at_once -= 1

    def reply(self, play, state, question):
        if play.drips:
            self.begin(200, "application/json", 10**6)
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b" ")
                    time.sleep(play.wait)
        time.sleep(play.wait)
        if state != 200:
            sent = json.dumps({"error": {"message": f"no: {self.headers['Authorization']}", "code": play.code}}).encode()
            self.begin(state, "application/json", len(sent), **play.headers)
            self.wfile.write(sent)
            return
        if play.raw == b"":
            self.close_connection = True
            return
        words = play.words.replace("{code}", CODE.findall(question)[-1])
        message = {"role": "assistant", "content": words}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        choice = {"index": 0, "message": message, "finish_reason": play.finish}
        reply = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "judge-0611",
            "choices": [choice],
            "usage": usage,
        }
        sent = json.dumps(reply).encode() if play.raw is None else play.raw
        self.begin(200, play.kind, len(sent))
        self.wfile.write(sent)

    def begin(self, state, kind, length, **headers):
        self.send_response(state)
        for name, value in {"Content-Type": kind, "Content-Length": str(length), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def endpoint(play=None):
    """play: question -> Play; without it every answer is correct."""
    server = Endpoint(play or (lambda question: Play()))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
