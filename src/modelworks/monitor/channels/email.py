"""Alerts by e-mail, through an SMTP server."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from urllib.parse import unquote, urlsplit

from modelworks.core.errors import Invalid, Unavailable
from modelworks.monitor.channels.port import Notice

_PATIENCE = 20.0
"""Seconds that a server may take for an answer."""


@dataclass(frozen=True)
class Email:
    """Sends each notice as a message of plain text; ``Message-ID`` is made of the notice's id.

    Attributes:
        to: Addresses, separated by commas.
        server: ``smtp://USER:PASSWORD@HOST:PORT``, which goes over to TLS where the server offers it, and has to before
            a password is said; or ``smtps://...``, TLS from the beginning.
        sender: Address of the sender; that of the first receiver by default.

    Raises:
        Invalid: no address, or no server.
    """

    to: str
    server: str = "smtp://localhost:25"
    sender: str = ""

    def __post_init__(self) -> None:
        if not self.receivers or any("@" not in one for one in self.receivers):
            raise Invalid("alerts.email has no address", "", "write for instance ops@example.com")
        if any(sign in self.sender for sign in "\r\n"):
            raise Invalid("alerts.sender is no address", "", "write for instance modelworks@example.com")
        try:
            where = urlsplit(self.server)
            sound = where.scheme in ("smtp", "smtps") and bool(where.hostname) and where.port != 0
        except ValueError:  # a port that is no number, or none that there is
            sound = False
        if not sound:
            raise Invalid(
                "alerts.smtp is no server", "", "write smtp://HOST:PORT or smtps://USER:PASSWORD@HOST:PORT"
            )

    @property
    def receivers(self) -> list[str]:
        """The addresses."""
        return [address for one in self.to.split(",") if (address := parseaddr(one)[1])]

    def send(self, notice: Notice) -> None:
        """See `Channel.send`."""
        sender = self.sender or self.receivers[0]
        message = EmailMessage()
        message["From"], message["To"] = sender, ", ".join(self.receivers)
        message["Subject"] = " ".join(notice.title.split())[:200]
        message["Date"] = formatdate()
        message["Message-ID"] = f"<{notice.id}@{sender.rpartition('@')[2]}>"
        message.set_content(f"{notice.text}\n\nmodelworks alerts\n")
        where = urlsplit(self.server)
        try:
            with self._connected() as server:
                server.send_message(message)
        except (OSError, smtplib.SMTPException, UnicodeError) as error:
            raise Unavailable(
                f"{where.hostname} does not take alerts by e-mail", type(error).__name__, "it is tried again"
            ) from None

    def _connected(self) -> smtplib.SMTP:
        where = urlsplit(self.server)
        host, context = where.hostname or "", ssl.create_default_context()
        if where.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                host, where.port or 465, timeout=_PATIENCE, context=context
            )
        else:
            server = smtplib.SMTP(host, where.port or 25, timeout=_PATIENCE)
        try:
            server.ehlo()
            if where.scheme == "smtp" and (server.has_extn("starttls") or where.password):
                server.starttls(context=context)
                server.ehlo()
            if where.username:
                server.login(unquote(where.username), unquote(where.password or ""))
        except BaseException:
            server.close()
            raise
        return server
