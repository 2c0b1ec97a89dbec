"""Alerts to an incoming webhook of Slack, or of what takes the same: Mattermost, Rocket.Chat, Discord's ``/slack``."""

from __future__ import annotations

from dataclasses import dataclass

from modelworks.core.plain import to_json
from modelworks.monitor.channels.port import Notice
from modelworks.monitor.channels.webhook import checked, post


@dataclass(frozen=True)
class Slack:
    """Posts each notice as text.

    Source: Slack, "Sending messages using incoming webhooks"; of a text ``&``, ``<`` and ``>`` are escaped.

    Attributes:
        url: The incoming webhook.

    Raises:
        Invalid: that is no URL.
    """

    url: str

    def __post_init__(self) -> None:
        checked(self.url, "alerts.slack")

    def send(self, notice: Notice) -> None:
        """See `Channel.send`."""
        text = notice.title if len(notice.alerts) == 1 else f"*{notice.title}*\n{notice.text}"
        for sign, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(sign, escaped)
        post(self.url, to_json({"text": text}), {"content-type": "application/json"})
