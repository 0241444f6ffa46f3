"""A server on loopback that speaks the protocols of the image services, and misbehaves on purpose.

It checks what is sent as the services document it, answers with the negative of the image, and
counts for each prompt how often it would have charged.
"""

import base64
import http.server
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from PIL import Image

from tasks.editing import Mask
from tasks.packs import Pixels

KEY = "sk-loopback-0123456789abcdef"
VARIABLES = {
    "openai": "OPENAI_API_KEY",
    "bfl": "BFL_API_KEY",
    "stability": "STABILITY_API_KEY",
    "gemini": "GEMINI_API_KEY",
}

Trick = Literal[
    "429", "500", "hang", "cut", "garbage", "refused", "filtered", "400", "402", "lost", "late"
]
CHARGED = frozenset({"hang", "cut", "garbage", "filtered", "lost", "late", None})
"""Tricks that happen after the work was done, and no trick at all."""
RETRY_AFTER_S = 0.3


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a request for an edit said."""

    provider: str
    path: str
    prompt: str
    image: Pixels
    mask: Mask | None
    fields: dict[str, Any]
    at: float


@dataclass(kw_only=True)
class Service:
    """What the server was asked, and what it does about it."""

    url: str = ""
    delay_s: float = 0.0
    pending: int = 1
    """Polls of a BFL task before it is ready."""
    retry_after_s: float = RETRY_AFTER_S
    turned_away: int = 0
    """Requests with a wrong key."""
    with_urls: bool = False
    """OpenAI's older models answered with an address."""
    tricks: dict[str, list[Trick]] = field(default_factory=dict)
    """By prompt, one a request; a prompt without any is served."""
    asked: list[Asked] = field(default_factory=list)
    charged: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    """Requests that no service would have taken."""
    at_once: int = 0
    most_at_once: int = 0
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)

    def trick(self, asked: Asked) -> Trick | None:
        """Note the request; what to do instead of serving it."""
        with self.lock:
            self.asked.append(asked)
            waiting = self.tricks.get(asked.prompt)
            trick = waiting.pop(0) if waiting else None
            blocked = trick == "filtered" and asked.provider == "openai"
            if trick in CHARGED and not blocked:
                self.charged[asked.prompt] += 1
            return trick


@contextmanager
def serving() -> Iterator[Service]:
    """A running server."""
    service = Service()
    handler = type("Bound", (_Handler,), {"service": service})
    with _Server(("127.0.0.1", 0), handler) as server:
        service.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            service.released.set()
            server.shutdown()
            thread.join()


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Clients that were killed or gave up close their connections."""


class _Wrong(Exception):
    """A request that the service would not take."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    service: Service

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        service = self.service
        with service.lock:
            service.at_once += 1
            service.most_at_once = max(service.most_at_once, service.at_once)
        try:
            provider, asked = self._read(body)
            if self._key(provider) != KEY:
                service.turned_away += 1
                self._refuse_key(provider)
            else:
                time.sleep(service.delay_s)
                self._serve(asked, service.trick(asked))
        except (_Wrong, KeyError, ValueError) as wrong:
            service.problems.append(f"{self.path}: {wrong!r}")
            self._json(422, {"error": {"message": repr(wrong)}})
        finally:
            with service.lock:
                service.at_once -= 1

    def do_GET(self) -> None:
        try:
            if self.path.startswith("/sample/"):
                self._sample(self.path.removeprefix("/sample/"))
            else:
                self._poll(self.path.rpartition("id=")[2])
        except _Wrong as wrong:
            self.service.problems.append(f"{self.path}: {wrong}")
            self._json(422, {"detail": str(wrong)})

    def _read(self, body: bytes) -> tuple[str, Asked]:
        if self.path == "/v1/images/edits":
            return "openai", _openai(self.path, self._parts(body))
        if self.path.startswith("/v1/flux-"):
            return "bfl", _bfl(self.path, json.loads(body))
        if self.path.startswith("/v2beta/stable-image/"):
            _require(self.headers["accept"] == "image/*", "accept")
            return "stability", _stability(self.path, self._parts(body))
        _require(self.path.startswith(("/v1/models/", "/v1beta/models/")), "unknown path")
        return "gemini", _gemini(self.path, json.loads(body))

    def _key(self, provider: str) -> str | None:
        name = {"bfl": "x-key", "gemini": "x-goog-api-key"}.get(provider, "authorization")
        value = self.headers.get(name) or ""
        if name == "authorization":
            _require(value.startswith("Bearer "), "no bearer")
        return value.removeprefix("Bearer ")

    def _refuse_key(self, provider: str) -> None:
        """As thoughtless as can be: the key stands in what is said."""
        said = f"Incorrect API key provided: {self._key(provider)}"
        if provider == "gemini":
            reason = [{"reason": "API_KEY_INVALID"}]
            self._json(400, {"error": {"code": 400, "message": said, "details": reason}})
        elif provider == "stability":
            self._json(401, {"name": "unauthorized", "errors": [said]})
        elif provider == "bfl":
            self._json(403, {"detail": said})
        else:
            self._json(401, {"error": {"message": said, "code": "invalid_api_key"}})

    def _serve(self, asked: Asked, trick: Trick | None) -> None:
        if trick == "hang":
            self.service.released.wait(10)
            self.close_connection = True
        elif trick == "429":
            headers = {"retry-after": self.service.retry_after_s}
            self._json(429, _error(asked.provider, "slow down"), headers)
        elif trick == "500":
            self._json(500, _error(asked.provider, f"oops, {KEY} broke it"))
        elif trick == "400":
            self._json(400, _error(asked.provider, "the prompt is too long"))
        elif trick == "402" and asked.provider == "openai":
            self._json(429, {"error": {"message": "top up", "code": "insufficient_quota"}})
        elif trick == "402":
            self._json(402, _error(asked.provider, "top up"))
        else:
            {
                "openai": self._serve_openai,
                "bfl": self._serve_bfl,
                "stability": self._serve_stability,
                "gemini": self._serve_gemini,
            }[asked.provider](asked, trick)

    def _serve_openai(self, asked: Asked, trick: Trick | None) -> None:
        if trick in ("refused", "filtered"):
            said = "Your request was rejected by the safety system."
            self._json(400, {"error": {"message": said, "code": "moderation_blocked"}})
            return
        image = _answer(asked, trick)
        if self.service.with_urls:
            self.service.tasks[asked.prompt] = {"image": image, "trick": None}
            data = {"url": f"{self.service.url}/sample/{asked.prompt}"}
        else:
            data = {"b64_json": base64.b64encode(image).decode()}
        usage = {
            "input_tokens": 1010,
            "input_tokens_details": {"image_tokens": 1000, "text_tokens": 10},
            "output_tokens": 200,
            "total_tokens": 1210,
        }
        self._json(200, {"created": 1, "data": [data], "usage": usage}, cut=trick == "cut")

    def _serve_bfl(self, asked: Asked, trick: Trick | None) -> None:
        name = f"{len(self.service.asked)}-{asked.prompt.replace(' ', '-')}"
        self.service.tasks[name] = {
            "image": _answer(asked, trick),
            "whole": _answer(asked, None),
            "trick": trick,
            "left": self.service.pending,
        }
        url = f"{self.service.url}/v1/get_result?id={name}"
        self._json(200, {"id": name, "polling_url": url})

    def _poll(self, name: str) -> None:
        _require(self._key("bfl") == KEY, "poll without a key")
        task = self.service.tasks.get(name)
        if task is None or task["trick"] == "lost":
            self._json(404, {"id": name, "status": "Task not found"})
            return
        task["left"] -= 1
        if task["left"] >= 0 or task["trick"] == "late":
            self._json(200, {"id": name, "status": "Pending", "result": None})
            return
        status = {"refused": "Request Moderated", "filtered": "Content Moderated"}.get(
            task["trick"], "Ready"
        )
        sample = {"sample": f"{self.service.url}/sample/{name}"} if status == "Ready" else None
        self._json(200, {"id": name, "status": status, "result": sample})

    def _sample(self, name: str) -> None:
        _require(not self.headers.get("x-key"), "the key was sent for a sample")
        task = self.service.tasks[name.replace("%20", " ")]
        image, trick = task["image"], task["trick"]
        # Broken once; what is fetched again is whole.
        task["trick"] = None
        if trick == "garbage":
            task["image"] = task.get("whole", image)
        self._bytes(200, image, "image/png", cut=trick == "cut")

    def _serve_stability(self, asked: Asked, trick: Trick | None) -> None:
        if trick == "refused":
            said = {"id": "1", "name": "content_moderation", "errors": ["flagged"]}
            self._json(403, said)
            return
        reason = "CONTENT_FILTERED" if trick == "filtered" else "SUCCESS"
        headers = {"finish-reason": reason, "seed": asked.fields["seed"]}
        self._bytes(200, _answer(asked, trick), "image/png", headers, cut=trick == "cut")

    def _serve_gemini(self, asked: Asked, trick: Trick | None) -> None:
        if trick == "refused":
            self._json(200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})
            return
        if trick == "filtered":
            blocked = {"finishReason": "IMAGE_SAFETY", "finishMessage": "unsafe"}
            self._json(200, {"candidates": [blocked]})
            return
        data = base64.b64encode(_answer(asked, trick)).decode()
        part = {"inlineData": {"mimeType": "image/png", "data": data}}
        text = {"text": "Here it is:"}
        content = {"role": "model", "parts": [text, part]}
        made = {"candidates": [{"content": content, "finishReason": "STOP"}]}
        self._json(200, made, cut=trick == "cut")

    def _parts(self, body: bytes) -> dict[str, bytes]:
        """The parts of a multipart body by name."""
        kind, _, boundary = self.headers["content-type"].partition("boundary=")
        _require(kind.startswith("multipart/form-data"), "no multipart")
        parts = {}
        for part in body.split(b"--" + boundary.encode())[1:-1]:
            head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
            name = head.decode().partition('name="')[2].partition('"')[0]
            if b"filename=" in head:
                _require(b"Content-Type: image/png" in head, f"{name} is sent as no PNG")
            parts[name.removesuffix("[]")] = content
        return parts

    def _json(
        self, status: int, answer: Any, headers: dict[str, Any] | None = None, cut: bool = False
    ) -> None:
        self._bytes(status, json.dumps(answer).encode(), "application/json", headers, cut)

    def _bytes(
        self,
        status: int,
        body: bytes,
        kind: str,
        headers: dict[str, Any] | None = None,
        cut: bool = False,
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut


def _openai(path: str, parts: dict[str, bytes]) -> Asked:
    _require(parts["n"] == b"1" and parts["quality"] in (b"low", b"medium", b"high"), "fields")
    image = _image(parts["image"])
    size = "{1}x{0}".format(*image.shape)
    _require(parts["size"].decode() == size, f"{size} was sent")
    mask = None
    if "mask" in parts:
        with Image.open(io.BytesIO(parts["mask"])) as opened:
            _require(opened.mode == "RGBA", "the mask has no alpha")
            mask = np.asarray(opened)[..., 3] == 0
    fields = {name: parts[name].decode() for name in ("model", "quality", "size")}
    return _asked("openai", path, parts["prompt"].decode(), image, mask, fields)


def _bfl(path: str, sent: dict[str, Any]) -> Asked:
    filling = path == "/v1/flux-pro-1.0-fill"
    _require(filling or path.startswith(("/v1/flux-kontext-", "/v1/flux-2-")), "unknown model")
    _require(("image" in sent, "mask" in sent, "input_image" in sent) == (
        (True, True, False) if filling else (False, False, True)
    ), "images")  # fmt: skip
    _require(sent["output_format"] == "png" and isinstance(sent["seed"], int), "fields")
    image = _image(base64.b64decode(sent["image" if filling else "input_image"]))
    mask = _white(base64.b64decode(sent["mask"])) if filling else None
    return _asked("bfl", path, sent["prompt"], image, mask, sent)


def _stability(path: str, parts: dict[str, bytes]) -> Asked:
    texts = {name: part.decode() for name, part in parts.items() if name not in ("image", "mask")}
    _require(0 < int(texts["seed"]) < 2**32 - 1, "seed")
    if path.endswith("/edit/inpaint"):
        mask = _white(parts["mask"])
        _require("strength" not in texts, "strength beside a mask")
    else:
        _require(path.endswith("/generate/sd3") and "mask" not in parts, "unknown path")
        _require(texts["mode"] == "image-to-image" and 0 <= float(texts["strength"]) <= 1, "mode")
        mask = None
    return _asked("stability", path, texts["prompt"], _image(parts["image"]), mask, texts)


def _gemini(path: str, sent: dict[str, Any]) -> Asked:
    _require(path.endswith(":generateContent"), "unknown path")
    first, second = sent["contents"][0]["parts"]
    inline = first["inlineData"]
    # Google's JSON takes names in either spelling.
    _require((inline.get("mime_type") or inline["mimeType"]) == "image/png", "no PNG")
    _require(sent["generationConfig"]["responseModalities"] == ["IMAGE"], "modalities")
    image = _image(base64.urlsafe_b64decode(inline["data"]))
    return _asked("gemini", path, second["text"], image, None, sent["generationConfig"])


def _asked(
    provider: str,
    path: str,
    prompt: str,
    image: Pixels,
    mask: Mask | None,
    fields: dict[str, Any],
) -> Asked:
    if mask is not None:
        _require(mask.shape == image.shape[:2], "the mask is of another size")
    _require(min(image.shape[:2]) >= 64 or provider == "gemini", "the image is too small")
    return Asked(
        provider=provider,
        path=path,
        prompt=prompt,
        image=image,
        mask=mask,
        fields=fields,
        at=time.monotonic(),
    )


def _image(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as opened:
        _require((opened.format, opened.mode) == ("PNG", "RGB"), f"{opened.format} {opened.mode}")
        return np.asarray(opened)


def _white(data: bytes) -> Mask:
    with Image.open(io.BytesIO(data)) as opened:
        _require((opened.format, opened.mode) == ("PNG", "L"), "the mask is not black and white")
        values = np.asarray(opened)
    _require(set(np.unique(values)) <= {0, 255}, "the mask has greys")
    return values > 0


def _answer(asked: Asked, trick: Trick | None) -> bytes:
    """The negative where it is to be repainted; large ones come back an eighth as large."""
    if trick == "garbage":
        return b"\x89PNG\r\n\x1a\n, but no image"
    negative = 255 - asked.image
    if asked.mask is not None:
        negative = np.where(asked.mask[..., None], negative, asked.image)
    image = Image.fromarray(negative)
    if image.width >= 512:
        image = image.reduce(8)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _error(provider: str, said: str) -> dict[str, Any]:
    if provider == "stability":
        return {"name": "error", "errors": [said]}
    return {"detail": said} if provider == "bfl" else {"error": {"message": said}}


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise _Wrong(problem)
