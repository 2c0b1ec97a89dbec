"""The streams of the house."""

from modelworks.core.catalog import Catalog
from modelworks.data.streams.port import Stream

STREAMS: Catalog[type[Stream]] = Catalog(
    "stream",
    {"nats": "modelworks.data.streams.nats:Nats", "kafka": "modelworks.data.streams.kafka:Kafka"},
)
