"""About a request: the id and the trace under which its client knows it, and the span that a collector is told.

Source: W3C Trace Context; OpenTelemetry's semantic conventions for HTTP spans. ``X-Request-Id`` is a custom of proxies.
"""

from __future__ import annotations

import random
import re
import time
from functools import lru_cache
from typing import NamedTuple

import msgspec

from modelworks import __version__
from modelworks.core.errors import Invalid, Unavailable
from modelworks.serving import paths

_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_TRACE = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class About(NamedTuple):
    """What is known of a request beside what it asks.

    Attributes:
        id: As its client or a proxy named it; ``b""`` for no name.
        trace: The ``traceparent`` that came with it; ``b""`` for none.
        arrived: When, nanoseconds since 1970.
        traced: Whether a span is made of it.
    """

    id: bytes
    trace: bytes
    arrived: int
    traced: bool

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the answer says of it."""
        return [(b"x-request-id", self.id)] if self.id else []


class Origin(msgspec.Struct, array_like=True, gc=False):
    """Where a request came from, as it is logged.

    Attributes:
        caller: Name of the token that was shown; ``""`` for none.
        request: The id by which its client or a proxy knows it; ``""`` for none.
        trace: Of the trace that it is part of, 32 hexadecimal digits; ``""`` for none.
    """

    caller: str = ""
    request: str = ""
    trace: str = ""


def about(traces: Traces | None, id: bytes = b"", trace: bytes = b"") -> About | None:
    """What is to be remembered of a request; ``None`` where that is nothing.

    Args:
        traces: Where spans go, if anywhere.
        id: Value of ``X-Request-Id``; ignored if it could not stand in a header again.
        trace: Value of ``traceparent``; ignored if it is none.
    """
    if id and not _ID.fullmatch(id):
        id = b""
    if trace and not _TRACE.fullmatch(trace):
        trace = b""
    traced = traces is not None and traces.wants(trace)
    return About(id, trace, time.time_ns(), traced) if id or traced else None


@lru_cache(maxsize=1024)
def origin(caller: str, id: bytes = b"", trace: bytes = b"") -> bytes:
    """Where a request came from, as it is logged; ``b""`` where nothing is known.

    Args:
        caller: Name of the token that was shown; ``""`` for none.
        id: Value of ``X-Request-Id``; ignored as by `about`.
        trace: Value of ``traceparent``; ignored if it is none, or names no trace.
    """
    if id and not _ID.fullmatch(id):
        id = b""
    named = trace[3:35] if trace and _TRACE.fullmatch(trace) else b""
    if not (caller or id or named.strip(b"0")):
        return b""
    return msgspec.json.encode(Origin(caller, id.decode(), named.decode() if named.strip(b"0") else ""))


class Traces:
    """Spans of requests, sent to a collector in the background.

    Args:
        to: Address of a collector of OTLP over HTTP, for instance ``http://127.0.0.1:4318``.
        share: Of the requests that come without a trace, which share makes one; those that come with one follow it.

    Raises:
        Invalid: the share is none.
        Unavailable: OpenTelemetry is not installed.
    """

    def __init__(self, to: str, share: float) -> None:
        if not 0 <= share <= 1:
            raise Invalid(f"server.trace_share cannot be {share}", "it is a share", "give one from 0 to 1")
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ALWAYS_ON
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise Unavailable(
                "spans cannot be sent",
                str(error),
                "pip install 'modelworks[otel]', or leave server.traces empty",
            ) from None
        self.share = share
        resource = Resource.create({"service.name": "modelworks", "service.version": __version__})
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(to.rstrip("/") + "/v1/traces", timeout=5))
        )
        self._tracer = self._provider.get_tracer("modelworks", __version__)
        self._context = TraceContextTextMapPropagator()

    def wants(self, trace: bytes) -> bool:
        """Whether a span is to be made of a request with that ``traceparent``."""
        return bool(int(trace[-2:], 16) & 1) if trace else random.random() < self.share  # noqa: S311

    def tell(self, method: str, path: bytes, told: About, status: int) -> None:
        """A request that is answered now.

        Args:
            method: Of HTTP.
            path: Without a query.
            told: What is known of it.
            status: Of HTTP.
        """
        from opentelemetry.trace import SpanKind, StatusCode

        parent = self._context.extract({"traceparent": told.trace.decode()}) if told.trace else None
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "url.path": path.decode("latin-1"),
            "http.response.status_code": status,
        }
        model = paths.model_of(path)
        route = path.decode("latin-1")
        if model is not None:  # a name for all models of a span, as the conventions want it
            attributes["modelworks.model"] = model
            route = "/predict/{model}" if path.startswith(paths.PREDICT) else "/v2/models/{model}"
        if told.id:
            attributes["modelworks.request_id"] = told.id.decode()
        span = self._tracer.start_span(
            f"{method} {route}",
            context=parent,
            kind=SpanKind.SERVER,
            start_time=told.arrived,
            attributes=attributes,
        )
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()
