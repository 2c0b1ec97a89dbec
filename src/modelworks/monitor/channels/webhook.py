"""Alerts as JSON to a URL, signed where there is a secret."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

import httpx

from modelworks.core.errors import Invalid, Unavailable
from modelworks.core.plain import to_json
from modelworks.monitor.channels.port import Notice

_PATIENCE = 10.0
"""Seconds that a receiver may take."""


@dataclass(frozen=True)
class Webhook:
    """Posts each notice; ``Idempotency-Key`` is the notice's id, so that a receiver knows what it has had.

    With a secret ``X-Modelworks-Signature`` is ``sha256=`` and the HMAC of the body, in hexadecimal (RFC 2104).

    Attributes:
        url: Where to; http or https.
        secret: Shared with the receiver; ``""`` for none.

    Raises:
        Invalid: that is no URL.
    """

    url: str
    secret: str = ""

    def __post_init__(self) -> None:
        checked(self.url, "alerts.webhook")

    def send(self, notice: Notice) -> None:
        """See `Channel.send`."""
        body = to_json(notice.to_json())
        headers = {"content-type": "application/json", "idempotency-key": notice.id}
        if self.secret:
            signature = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
            headers["x-modelworks-signature"] = f"sha256={signature}"
        post(self.url, body, headers)


def checked(url: str, setting: str) -> None:
    """Refuse what is no URL.

    Raises:
        Invalid: it is none.
    """
    try:
        parts = httpx.URL(url)
        sound = parts.scheme in ("http", "https") and bool(parts.host)
    except httpx.InvalidURL:
        sound = False
    if not sound:
        raise Invalid(
            f"{setting} is no URL", "it begins with http:// or https:// and names a host", "correct it"
        )


def post(url: str, body: bytes, headers: dict[str, str]) -> None:
    """Send, and see that it was taken; what a URL holds may be secret and is not repeated.

    Raises:
        Unavailable: it was not taken.
    """
    host = httpx.URL(url).host
    try:
        answer = httpx.post(url, content=body, headers=headers, timeout=_PATIENCE, follow_redirects=False)
    except httpx.HTTPError as error:
        raise Unavailable(f"{host} does not take alerts", type(error).__name__, "it is tried again") from None
    if not answer.is_success:
        raise Unavailable(
            f"{host} does not take alerts", f"it answers {answer.status_code}", "it is tried again"
        )
