"""The channels of the house."""

from modelworks.core.catalog import Catalog
from modelworks.monitor.channels.port import Channel

CHANNELS: Catalog[type[Channel]] = Catalog(
    "channel",
    {
        "email": "modelworks.monitor.channels.email:Email",
        "slack": "modelworks.monitor.channels.slack:Slack",
        "webhook": "modelworks.monitor.channels.webhook:Webhook",
    },
)
