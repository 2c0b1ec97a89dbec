"""The contract of channels, over every entry of the catalog, each against a real receiver; then each for itself."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.parser import BytesParser
from email.policy import default
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from modelworks.core.errors import Invalid, Unavailable
from modelworks.monitor.channels import CHANNELS
from modelworks.monitor.channels.email import Email
from modelworks.monitor.channels.port import Channel, Notice, Told
from modelworks.monitor.channels.slack import Slack
from modelworks.monitor.channels.webhook import Webhook

NOW = datetime(2024, 6, 1, tzinfo=UTC)


def alert(number: int, event: Any = "opened", severity: str = "warning") -> Told:
    return Told(number, event, "delay", "UA", "drift", severity, f"number {number} of <delay> & others", NOW)


ONE = Notice("0" * 26, "flights", [alert(1)])
MANY = Notice("1" * 26, "flights", [*(alert(n, severity="critical") for n in range(30)), alert(31, "closed")])


class Heard:
    """What a receiver was sent: headers and text."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 200


@contextmanager
def http() -> Iterator[tuple[str, Heard]]:
    heard = Heard()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(heard.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", heard
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def smtp() -> Iterator[tuple[str, Heard]]:
    heard = Heard()

    class Handler:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's
            heard.got.append(({"to": ", ".join(envelope.rcpt_tos)}, envelope.content))
            return "250 taken" if heard.status == 200 else "451 not now"

    with socket.socket() as free:  # the controller has to be told a port
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(Handler(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield f"smtp://127.0.0.1:{port}", heard
    finally:
        controller.stop()


def text_of(heard: Heard) -> str:
    """What a person reads, or a program decodes, of the last that came."""
    _, body = heard.got[-1]
    try:
        told = json.loads(body)
        return str(told.get("text") or told)
    except ValueError:
        message = BytesParser(policy=default).parsebytes(body)
        return f"{message['subject']}\n{message.get_content()}"  # type: ignore[attr-defined]


MAKE: dict[str, tuple[Callable[[], Any], Callable[[str], Channel]]] = {
    "email": (smtp, lambda url: Email("ops@example.com, Night <night@example.com>", url)),
    "slack": (http, Slack),
    "webhook": (http, Webhook),
}


@pytest.fixture(params=list(CHANNELS))
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Channel, Heard]]:
    receiver, made = MAKE[str(request.param)]
    with receiver() as (url, heard):
        yield made(url), heard


def test_an_alert_gets_there(pair: tuple[Channel, Heard]) -> None:
    channel, heard = pair
    channel.send(ONE)
    assert len(heard.got) == 1
    assert "number 1" in text_of(heard)
    assert "flights" in text_of(heard)


def test_many_are_one_message(pair: tuple[Channel, Heard]) -> None:
    channel, heard = pair
    channel.send(MANY)
    assert len(heard.got) == 1
    assert "30 alerts, 30 of them critical, 1 over" in text_of(heard)


def test_what_is_not_taken_is_said_without_the_address(pair: tuple[Channel, Heard]) -> None:
    channel, heard = pair
    heard.status = 503
    with pytest.raises(Unavailable) as caught:
        channel.send(ONE)
    assert "127.0.0.1 does not take alerts" in str(caught.value)
    assert "hook" not in str(caught.value)


@pytest.mark.parametrize("name", list(CHANNELS))
def test_where_nobody_listens_it_says_so(name: str) -> None:
    receiver, made = MAKE[name]
    with receiver() as (url, _):
        channel = made(url)
    with pytest.raises(Unavailable):
        channel.send(ONE)


def test_a_webhook_is_signed_and_says_which_notice_it_is() -> None:
    with http() as (url, heard):
        Webhook(url, "secret").send(ONE)
    ((headers, body),) = heard.got
    assert headers["idempotency-key"] == ONE.id
    signed = hmac.new(b"secret", body, hashlib.sha256).hexdigest()
    assert headers["x-modelworks-signature"] == f"sha256={signed}"
    assert json.loads(body)["alerts"][0] == {
        "id": 1, "event": "opened", "model": "delay", "segment": "UA", "kind": "drift", "severity": "warning",
        "message": "number 1 of <delay> & others", "at": "2024-06-01T00:00:00+00:00", "incident": 1,
    }  # fmt: skip


def test_slack_gets_its_signs_escaped() -> None:
    with http() as (url, heard):
        Slack(url).send(ONE)
    assert text_of(heard) == "[flights] warning: number 1 of &lt;delay&gt; &amp; others"


def test_a_mail_has_receivers_and_an_id() -> None:
    with smtp() as (url, heard):
        Email("ops@example.com, Night <night@example.com>", url, "factory@example.com").send(ONE)
    ((headers, body),) = heard.got
    assert headers["to"] == "ops@example.com, night@example.com"
    message = BytesParser(policy=default).parsebytes(body)
    assert message["message-id"] == f"<{ONE.id}@example.com>"
    assert message["from"] == "factory@example.com"


def test_a_password_is_not_said_without_tls() -> None:
    with smtp() as (url, heard), pytest.raises(Unavailable):
        Email("ops@example.com", url.replace("//", "//user:secret@")).send(ONE)
    assert not heard.got


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (lambda: Webhook("file:///etc/passwd"), "alerts.webhook"),
        (lambda: Webhook("http://host:port/x"), "alerts.webhook"),
        (lambda: Webhook("http://[::1/x"), "alerts.webhook"),
        (lambda: Email("ops@example.com", "smtp://localhost:port"), "alerts.smtp"),
        (lambda: Email("ops@example.com", "smtp://localhost:99999"), "alerts.smtp"),
        (lambda: Email("ops@example.com", sender="a@b.c\nBcc: x@y.z"), "alerts.sender"),
        (lambda: Slack("hooks.slack.com/services/x"), "alerts.slack"),
        (lambda: Email("nobody"), "alerts.email"),
        (lambda: Email(""), "alerts.email"),
        (lambda: Email("ops@example.com", "mail.example.com"), "alerts.smtp"),
    ],
)
def test_what_cannot_be_used_is_refused(wrong: Callable[[], Any], what: str) -> None:
    with pytest.raises(Invalid) as caught:
        wrong()
    assert what in str(caught.value)
