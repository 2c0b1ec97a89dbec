"""Kafka, and what speaks its protocol."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from time import monotonic
from typing import Any

from modelworks.core.errors import Invalid, NotReady, Unavailable
from modelworks.core.schema import Field
from modelworks.data.streams.messages import slice_of
from modelworks.data.streams.port import START, Positions, Taken

_PATIENCE = 10.0
"""Seconds within which a broker answers."""
_AT_ONCE = 10_000
_LOOK_AGAIN = 60.0
"""Seconds after which new partitions are looked for."""


@dataclass(frozen=True)
class Kafka:
    """A topic of Kafka: ``mw.Kafka("flights", servers="broker:9092")``.

    Every message's value is a JSON object with one row. Partitions are read side by side, each in its own
    order. No consumer group commits anything: the table knows how far it is.

    Attributes:
        topic: Name of the topic.
        servers: Addresses of brokers, with commas between them.
        settings: Further settings of librdkafka, for instance ``{"security.protocol": "SASL_SSL"}``.
        rows: Rows from which what came is committed.
        seconds: Time after which it is committed in any case.

    Raises:
        Invalid: a name or a limit that cannot be.
    """

    topic: str
    servers: str = "127.0.0.1:9092"
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)  # it may hold a password
    rows: int = 50_000
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if not self.topic.strip():
            raise Invalid("mw.Kafka has no topic", "", "write for instance mw.Kafka('flights')")
        if self.rows < 1 or self.seconds <= 0:
            raise Invalid("mw.Kafka commits by rows and seconds, both above 0", "", "leave them out")

    def open(self, positions: Positions, expected: Mapping[str, Field]) -> _Reader:
        """See `Stream.open`."""
        try:
            kafka = import_module("confluent_kafka")
        except ImportError as error:
            raise NotReady(
                "Kafka cannot be read",
                "the package confluent-kafka is not installed",
                "pip install 'modelworks[kafka]'",
            ) from error
        return _Reader(kafka, self, positions, expected)


class _Reader:
    """A consumer that is told what to read: it belongs to no group, and commits nothing to the broker.

    librdkafka fetches in threads of its own, up to its limits, while what came before is being committed.
    """

    def __init__(
        self, kafka: Any, source: Kafka, positions: Positions, expected: Mapping[str, Field]
    ) -> None:
        self._kafka = kafka
        self._source = source
        self._positions = positions
        self._expected = expected
        self._gone: list[str] = []
        self._errors: list[str] = []
        self._since: dict[int, int] = {}
        self._then: dict[int, int] = {}
        self._high: dict[int, int] = {}
        self._ended: set[int] = set()
        self._looked = monotonic()
        self._consumer = kafka.Consumer(
            {
                "group.id": "modelworks",  # asked for by the library, and not used
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",  # nothing is passed over without a word
                "isolation.level": "read_committed",
                "queued.max.messages.kbytes": 64 * 1024,
                "error_cb": self._went_wrong,
                "log_level": 0,
                **source.settings,
                "bootstrap.servers": source.servers,
            }
        )
        try:
            self._assign()
        except BaseException:
            self.close()
            raise

    @property
    def behind(self) -> int:
        """See `Reader.behind`."""
        total = 0
        for number, then in self._then.items():
            if number not in self._ended:
                partition = self._kafka.TopicPartition(self._source.topic, number)
                known = self._consumer.get_watermark_offsets(partition, cached=True)[1]
                total += max(0, max(self._high[number], known) - then)
        return total

    def take(self, rows: int, seconds: float) -> Taken | None:
        """See `Reader.take`."""
        if monotonic() - self._looked > _LOOK_AGAIN:
            self._assign()
        came: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        until, count = monotonic() + seconds, 0
        while count < rows and (left := until - monotonic()) > 0:
            # The library returns when it has as many, or when the time is over: short turns see the ends.
            found = self._consumer.consume(min(_AT_ONCE, rows - count), timeout=min(left, 0.1))
            self._check()
            for message in found:
                if message.error() is None:
                    if not count:
                        until = monotonic() + seconds
                    count += 1
                    came[message.partition()].append((message.offset(), message.value() or b""))
                    self._ended.discard(message.partition())
                elif message.error().code() == self._kafka.KafkaError._PARTITION_EOF:
                    self._ended.add(message.partition())
                else:
                    raise self._unavailable(message.error().str())
        if not count:
            return None
        gone, self._gone = self._gone, []
        slices = []
        for number, messages in sorted(came.items()):
            since, self._since[number] = self._since[number], messages[-1][0]
            self._then[number] = self._since[number] + 1
            slices.append(
                slice_of(
                    self._name(number),
                    since,
                    [payload for _, payload in messages],
                    [offset for offset, _ in messages],
                    self._expected,
                )
            )
        return Taken(slices, gone)

    def close(self) -> None:
        """See `Reader.close`."""
        self._consumer.close()

    def _name(self, number: int) -> str:
        return f"kafka:{self._source.topic}/{number}"

    def _assign(self) -> None:
        """Read every partition from where the table stands; those that are read already go on."""
        kafka, topic = self._kafka, self._source.topic
        self._looked = monotonic()
        try:
            known = self._consumer.list_topics(topic, timeout=_PATIENCE).topics[topic]
        except kafka.KafkaException as error:
            raise self._unavailable(error.args[0].str()) from error
        if known.error is not None:
            raise Invalid(
                f"the topic {topic} cannot be read",
                f"Kafka: {known.error.str()}",
                "check its name, or make it",
            )
        new = [number for number in sorted(known.partitions) if number not in self._since]
        if not new:
            return
        stood = self._positions([self._name(number) for number in new])
        begin = []
        for number in new:
            last = stood.get(self._name(number), START)
            low, high = self._edges(number)
            if last >= high:
                raise Invalid(
                    f"the topic {topic} is shorter than what was taken in of it",
                    f"its partition {number} ends at {high}, the table is at {last}: it was made anew",
                    "give the new topic another name",
                )
            if last != START and low > last + 1:
                self._gone.append(
                    f"{low - last - 1:,} messages of {self._name(number)} were gone before they were read: "
                    f"it now begins at {low}"
                )
            self._since[number], self._then[number], self._high[number] = last, max(last + 1, low), high
            begin.append(kafka.TopicPartition(topic, number, self._then[number]))
        self._consumer.incremental_assign(begin)

    def _edges(self, number: int) -> tuple[int, int]:
        """The first offset of a partition, and the one behind its last."""
        partition = self._kafka.TopicPartition(self._source.topic, number)
        try:
            low, high = self._consumer.get_watermark_offsets(partition, timeout=_PATIENCE)
        except self._kafka.KafkaException as error:
            raise self._unavailable(error.args[0].str()) from error
        return low, high

    def _went_wrong(self, error: Any) -> None:
        if error.code() in (self._kafka.KafkaError._ALL_BROKERS_DOWN, self._kafka.KafkaError._AUTHENTICATION):
            self._errors.append(error.str())

    def _check(self) -> None:
        if self._errors:
            raise self._unavailable(self._errors[-1])

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(
            f"the topic {self._source.topic} cannot be reached", f"Kafka: {why}", "it is tried again"
        )
