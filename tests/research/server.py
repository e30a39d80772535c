"""A language model that follows a script: OpenAI's protocol on loopback, one step per request.

After the last step it is repeated. Who only looks (GET: the list of models) is answered apart, and
moves no step. Nothing leaves the machine.
"""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Step:
    """What is answered to one request."""

    body: str = ""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    after: threading.Event | None = None  # the answer waits for it
    drop: bool = False  # the connection ends without an answer


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: str

    @property
    def data(self) -> Any:
        """Returns the body, which has to be JSON."""
        return json.loads(self.body)


def answer(
    text: str,
    usage: tuple[int, int] | None = (20, 10),
    finish: str = "stop",
    after: threading.Event | None = None,
) -> Step:
    """Answers a chat completion; usage is in tokens, input and output."""
    message = {"role": "assistant", "content": text}
    data: dict[str, Any] = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    if usage:
        into, out = usage
        tokens = {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out}
        data["usage"] = tokens
    return Step(json.dumps(data), after=after)


def empty() -> Step:
    """Answers without a choice."""
    return Step(json.dumps(json.loads(answer("").body) | {"choices": []}))


def refusal(status: int, message: str, code: str = "", **headers: str) -> Step:
    """Refuses, as OpenAI does; `retry_after` becomes the header retry-after."""
    error = {"message": message, "type": code or "error", "code": code or None}
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Step(
        json.dumps({"error": error}), status, (("content-type", "application/json"), *named)
    )


def listed(*models: str) -> Step:
    """Answers with a list of models."""
    return Step(json.dumps({"data": [{"id": model} for model in models]}))


class Server:
    """Plays the steps, and keeps the requests; `models` answers who asks for the list of models."""

    def __init__(self, *steps: Step, models: Step = listed()) -> None:  # noqa: B008  it is frozen
        self.requests: list[Request] = []
        self.looks: list[Request] = []
        self._steps: Sequence[Step] = steps
        self._models = models
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    @property
    def root(self) -> str:
        """Returns the address without a path."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def url(self) -> str:
        """Returns the address, as a client of OpenAI's protocol has it."""
        return f"{self.root}/v1"

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for step in (*self._steps, self._models):
            if step.after:
                step.after.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _next(self, request: Request) -> Step:
        with self._lock:
            if request.method == "GET":
                self.looks.append(request)
                return self._models
            self.requests.append(request)
            return self._steps[min(len(self.requests), len(self._steps)) - 1]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        play = self._next

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._answer()

            def do_GET(self) -> None:
                self._answer()

            def _answer(self) -> None:
                length = int(self.headers.get("content-length", 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(length).decode()
                step = play(Request(self.command, self.path, headers, body))
                self.close_connection = True
                if step.after:
                    step.after.wait(20)  # the test sets it
                if step.drop:
                    return
                data = step.body.encode()
                try:
                    self.send_response(step.status)
                    for name, value in step.headers:
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except ConnectionError:
                    pass  # the client has given up

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
