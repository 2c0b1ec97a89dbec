"""The data plane: everything that predicts or tells outcomes, under whatever carries the requests."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
import orjson

from modelworks.core.clock import new_id
from modelworks.core.errors import Invalid, ModelworksError, TooLarge, Unfit
from modelworks.core.plain import to_json
from modelworks.serving import outcomes, paths
from modelworks.serving.about import Traces
from modelworks.serving.features import OnlineFeatures
from modelworks.serving.findings import refusal
from modelworks.serving.fleet import Fleet
from modelworks.serving.inference_protocol import describe, manage
from modelworks.serving.input_guard import Odd
from modelworks.serving.metrics import metrics_text
from modelworks.serving.native.metrics import workers_text
from modelworks.serving.native.pool import Died
from modelworks.serving.replica import Replica
from modelworks.serving.replies import WORTH, Later, Mixed, Reply, accepted, compress, error_reply, media
from modelworks.serving.shadows import Shadows
from modelworks.serving.spool import OUTCOME, OUTCOMES, PREDICTIONS, Entry, Spool
from modelworks.serving.standby import stand_in
from modelworks.serving.target import Job, Piece, Target
from modelworks.serving.words import predictions, spread

_log = logging.getLogger("modelworks.serving")
_BINARY_HEADER = b"inference-header-content-length"


class Asked(NamedTuple):
    """A request that was read.

    Attributes:
        place: Its number among those that came with it.
        target: What it leads to.
        job: Its rows.
        body: As it is logged.
        begun: When it was read, by the performance counter.
        origin: Where it came from, as it is logged.
    """

    place: int
    target: Target
    job: Job
    body: bytes
    begun: float
    origin: bytes


Request = tuple[bytes, bytes] | tuple[bytes, bytes, bytes]
"""Path (raw, without a query) and body; and where it came from, see `about.origin`, if that is known."""
Result = bytes | ModelworksError | Later
Aside = Callable[[str, Asked], Later]
"""Takes what an event loop does not answer itself, by its lane. Raises `Busy` if there is too much of it."""
FullReply = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers, body."""


class DataPlane:
    """Answers requests and logs them; knows nothing of sockets.

    Args:
        fleet: What is live.
        spool: Folder of the log's spool.
        max_body: Largest request body in bytes, after decompression too.
        features: Computes inputs that are not sent.
        sync: Whether the log is on the disk before an answer leaves.

    Attributes:
        traces: Where spans go, if anywhere.
        shed: Requests that were told to come again, because there was no time for them.
        leaving: Whether the server is about to end: nobody should send it anything more.
    """

    def __init__(
        self,
        fleet: Fleet,
        spool: Path,
        max_body: int = 16 * 1024 * 1024,
        features: OnlineFeatures | None = None,
        sync: bool = False,
    ) -> None:
        self.fleet = fleet
        self.features = features
        self.traces: Traces | None = None
        self.max_body = max_body
        self.predictions = Spool(spool, PREDICTIONS, sync=sync)
        self.outcomes = Spool(spool, OUTCOMES, sync=sync)
        self.shadows = Shadows(self.predictions)
        self.unknown = 0
        self.shed = 0
        self.leaving = False

    def refresh(self) -> bool:
        """Follow the ledger now: what is live, and what features look into; true if what is live changed."""
        if self.features is not None:
            self.features.refresh()
        return self.fleet.refresh()

    # -- predicting ------------------------------------------------------------------------------------

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer requests that came together: one prediction a model version, one write to the log.

        Args:
            requests: See `Request`.

        Returns:
            A reply a request, in order. Those with status 200 are in the log already.
        """
        return [
            error_reply(result, path) if isinstance(result, ModelworksError) else (200, result)
            for result, (path, *_) in zip(self.results(requests), requests, strict=True)
        ]

    def results(self, requests: Sequence[Request]) -> list[bytes | ModelworksError]:
        """Like `answer`: a body, or the error, for each request."""
        return cast("list[bytes | ModelworksError]", self.turn(requests, None))

    def turn(self, requests: Sequence[Request], aside: Aside | None) -> list[Result]:
        """Like `results`, for an event loop: what takes time is put aside, where there is an aside, for later."""
        results: list[Result] = [b""] * len(requests)
        self._complete(self._read(requests, results, aside), results)
        return results

    def complete(self, asked: Sequence[Asked]) -> list[bytes | ModelworksError]:
        """Answer what was put aside; it takes its time."""
        results: list[Result] = [b""] * len(asked)
        self._complete([one._replace(place=place) for place, one in enumerate(asked)], results)
        return cast("list[bytes | ModelworksError]", results)

    def _read(self, requests: Sequence[Request], results: list[Result], aside: Aside | None) -> list[Asked]:
        """The requests that can be answered now; of the others the results are set."""
        begun = time.perf_counter()
        snapshot = self.fleet.snapshot
        read: list[Asked] = []
        for index, request in enumerate(requests):
            path, body, came = request if len(request) == 3 else (*request, b"")
            target: Target | None = None
            try:
                target = snapshot.targets.get(path) or snapshot.target(path, self.fleet.pinned)
                if target.features and self.features is not None:
                    body = self.features.add(target.dataset, target.features, body)
                job = target.decode(body)
                asked = Asked(index, target, job, body, begun, came)
                if aside is not None and target.route.slow and (lane := job.lane) is not None:
                    results[index] = aside(lane, asked)
                else:
                    read.append(asked)
            except Exception as error:
                results[index] = self._refused(target, error)
        return read

    def _complete(self, asked: Sequence[Asked], results: list[Result]) -> None:
        """Ask the models, log what they answer, and set the results."""
        divided: list[Job] = []
        groups: dict[Replica, list[Piece]] = {}
        for one in asked:
            job = one.job
            for piece in job.pieces:
                pieces = groups.get(piece.replica)
                if pieces is None:
                    groups[piece.replica] = [piece]
                else:
                    pieces.append(piece)
            if job.divided:
                divided.append(job)
        for replica, pieces in groups.items():
            _predict(replica, pieces)
        if divided:
            stand_in(divided, _predict)
        now, told = time.time_ns() // 1000, time.perf_counter()
        entries: list[Entry] = []
        answered: list[Asked] = []
        written: list[Asked] = []
        silent: list[tuple[Asked, str]] = []
        for one in asked:
            index, target, job, body, begun, came = one
            try:
                for piece in job.pieces:
                    if piece.error is not None:
                        raise refusal(job) or piece.error
                kept = job.divided or target.keeping.drawn()  # what is evidence is never left out
                request = new_id().encode() if kept else outcomes.UNLOGGED.encode() + new_id().encode()
                logged = b"%b%b]}" % (target.prefix, predictions(job, request))
                results[index] = target.word(job, request, logged)
            except Exception as error:
                results[index] = self._refused(target, error)
                continue
            answered.append(one)
            if not kept:
                continue
            if job.divided:
                logged = b'%b,"arms":%b}' % (logged[:-1], _notes(job))
            kind, stored = target.logged(body)
            entries.append(Entry(kind, target.schema, now, stored, logged, came, told - begun))
            written.append(one)
            if job.shadows:
                silent.append((one, request.decode()))
        if entries:
            try:
                self.predictions.append(entries)
            except ModelworksError as error:
                for index, target, *_ in written:
                    results[index] = self._refused(target, error)
                return
        for one, of in silent:
            target = one.target
            logs = target.logged(one.body)
            self.shadows.add(one.job.shadows, *logs, target.schema, target.prefix, of, one.origin)
        end = time.perf_counter()
        for _, target, job, _, begun, _ in answered:
            target.counters.answered(job.size, end - begun)
            for piece in job.pieces:
                for said in (piece.odd or {}).values():
                    for odd in said:
                        target.counters.was_odd(odd.kind, "flagged")

    def _refused(self, target: Target | None, error: Exception) -> ModelworksError:
        if target is None:
            self.unknown += 1
        else:
            target.counters.errors += 1
            for value in error.values if isinstance(error, Unfit) else ():
                target.counters.was_odd(value.kind, "refused")
        if isinstance(error, ModelworksError):
            return error
        _log.error("a request could not be answered", exc_info=error)
        return ModelworksError("the request could not be answered", "an error of the server", "see its log")

    # -- the rest --------------------------------------------------------------------------------------

    def handle(
        self, method: str, path: bytes, headers: Mapping[bytes, bytes], body: bytes, came: bytes = b""
    ) -> FullReply:
        """Answer any request to the data plane's paths; may load a model version, so not for an event loop.

        Args:
            method: HTTP method.
            path: As it came, still percent-encoded; a query is ignored.
            headers: Lower-case names.
            body: As it came.
            came: Where it came from, as it is logged.
        """
        path = path.split(b"?", 1)[0]
        allowed = _methods(path)
        allow = (b"allow", ", ".join((*allowed, "OPTIONS")).encode())
        if method == "OPTIONS":
            return 204, [allow], b""
        extra: list[tuple[bytes, bytes]] = []
        try:
            if method not in allowed:
                extra = [allow]
                error = Invalid(f"{method} is not possible here", "", f"use {' or '.join(allowed)}")
                status, content = 405, error_reply(error, path)[1]
            elif method == "POST":
                status, content = self._post(path, headers, body, came)
            else:
                status, content = 200, b""
                found, told = describe(self.fleet, path)
                status, content = found, orjson.dumps(told)
        except ModelworksError as error:
            status, content = error_reply(error, path)
        extra += media(content)
        if method == "POST" and len(content) >= WORTH:
            encoding = accepted(headers.get(b"accept-encoding", b""))
            if encoding:
                extra.append((b"content-encoding", encoding))
                content = compress(content, encoding)
        return status, extra, content

    def _post(self, path: bytes, headers: Mapping[bytes, bytes], body: bytes, came: bytes) -> Reply:
        if len(body) > self.max_body:
            raise too_large(self.max_body)
        body = self._plain(headers.get(b"content-encoding", b"identity"), body)
        if path == paths.OUTCOMES:
            return 200, self.tell(body)
        if path.startswith(paths.REPOSITORY):
            return 200, orjson.dumps(manage(self.fleet, path, body))
        head = headers.get(_BINARY_HEADER)
        if head is not None:
            body = _mixed(body, head)
        return self.answer([(path, body, came)])[0]

    def _plain(self, encoding: bytes, body: bytes) -> bytes:
        """The body decompressed, never beyond the limit."""
        kind = encoding.strip().lower()
        if kind in (b"identity", b""):
            return body
        if kind not in (b"gzip", b"x-gzip", b"deflate"):
            raise Invalid(
                f"the content encoding {encoding.decode('latin-1')[:40]!r} is not known",
                "",
                "send gzip, deflate or none",
            )
        try:
            unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
            plain = unpacker.decompress(body, self.max_body + 1)
        except zlib.error as error:
            raise Invalid(
                "the body cannot be decompressed", str(error), "correct it, or send it plain"
            ) from None
        if len(plain) > self.max_body:
            raise too_large(self.max_body)
        if not unpacker.eof:
            raise Invalid("the body cannot be decompressed", "it is cut off", "send all of it")
        return plain

    def tell(self, body: bytes) -> bytes:
        """Take outcomes; when this returns, they are in the log.

        Those of predictions that were left out of it are counted, and not kept: nothing can be said of them.

        Raises:
            Invalid: the body is not one of outcomes; none of them is taken then.
            Unavailable: the log cannot be written.
        """
        told = outcomes.read(body)
        unlogged = sum(one.unlogged for one in told)
        if unlogged < len(told):
            self.outcomes.append([Entry(OUTCOME, b"", time.time_ns() // 1000, body, b"")])
        return to_json({"accepted": len(told) - unlogged, **({"unlogged": unlogged} if unlogged else {})})

    def metrics_text(self) -> str:
        """What was counted, in Prometheus' text format."""
        told = metrics_text(
            self.fleet.counters, self.fleet.live(), self.fleet.residency.counted, self.unknown, self.shed
        )
        return told if self.fleet.pools is None else told + workers_text(self.fleet.pools)

    def close(self) -> None:
        """Let go of the log."""
        self.shadows.close()
        if self.traces is not None:
            self.traces.close()
        self.predictions.close()
        self.outcomes.close()


def too_large(limit: int) -> TooLarge:
    """The error for a body over the limit, in bytes."""
    return TooLarge(
        "the request body is too large",
        f"the limit is {limit} bytes",
        "send less at once, or raise server.max_body",
    )


def _mixed(body: bytes, head: bytes) -> Mixed:
    if not head.isdigit() or len(head) > 12 or int(head) > len(body):
        raise Invalid(
            f"Inference-Header-Content-Length cannot be {head.decode('latin-1')[:40]!r}",
            f"it is the length of the JSON at the beginning of the body, which has {len(body)} bytes",
            "correct it",
        )
    return Mixed.of(body, int(head))


def _methods(path: bytes) -> tuple[str, ...]:
    if (
        path.startswith((paths.PREDICT, paths.REPOSITORY))
        or path == paths.OUTCOMES
        or path.endswith(b"/infer")
    ):
        return ("POST",)
    return ("GET", "HEAD")


def _predict(replica: Replica, pieces: list[Piece], again: bool = True) -> None:
    """Answer the pieces of one replica together; where that fails each alone, so that none spoils another."""
    begun = time.perf_counter()
    try:
        numbers: Any = (
            pieces[0].numbers if len(pieces) == 1 else [row for one in pieces for row in one.numbers]
        )
        texts: Any = pieces[0].texts if len(pieces) == 1 else [row for one in pieces for row in one.texts]
        guard = replica.guard
        if guard is not None and not (len(numbers) == 1 and guard.usual(numbers[0], texts[0])):
            numbers, texts = np.asarray(numbers, np.float32), np.asarray(texts, object)
            odd = guard.odd(numbers, texts)
            if odd is not None and (willing := _guarded(pieces, odd)) != pieces:
                if willing:
                    _predict(replica, willing)
                return
        outputs = replica.predict(numbers, texts)
        fragments = replica.fragments(outputs)
        if fragments is None or len(fragments) != len(numbers):
            raise _no_number(replica)
        seconds = time.perf_counter() - begun
        if len(pieces) == 1:
            piece = pieces[0]
            piece.outputs, piece.fragments, piece.seconds = outputs, fragments, seconds
            return
        start = 0
        for piece in pieces:
            end = start + len(piece.numbers)
            piece.outputs, piece.fragments = outputs[start:end], fragments[start:end]
            piece.seconds = seconds
            start = end
    except Exception as error:
        # A worker process that died takes its rows with it: each is asked once more, alone.
        died = again and isinstance(error, Died)
        if len(pieces) == 1 and not died:
            pieces[0].error = error if isinstance(error, ModelworksError) else _broken(replica, error)
        else:
            for piece in pieces:
                _predict(replica, [piece], again=not died)


def _guarded(pieces: list[Piece], odd: Sequence[Odd]) -> list[Piece]:
    """Note what is odd with the pieces that it is in; gives those that nothing was refused of."""
    rows: dict[int, list[Odd]] = {}
    for one in odd:
        rows.setdefault(one.row, []).append(one)
    willing, start = [], 0
    for piece in pieces:
        mine = {at - start: rows[at] for at in range(start, start + len(piece.numbers)) if at in rows}
        start += len(piece.numbers)
        refused = [one.told(row) for row, some in mine.items() for one in some if one.refused]
        if refused:
            piece.error = Unfit(refused)
        else:
            piece.odd = mine
            willing.append(piece)
    return willing


def _broken(replica: Replica, error: Exception) -> ModelworksError:
    _log.error("%s gives what cannot be read", replica.ref, exc_info=None if replica.discreet else error)
    why = type(error).__name__ if replica.discreet else str(error)
    return ModelworksError(f"{replica.ref} gives what cannot be read", why, "roll back")


def _notes(job: Job) -> bytes:
    """What is logged of each row beside its answer."""
    return msgspec.json.encode(spread(job, [piece.note for piece in job.pieces]))


def _no_number(replica: Replica) -> Invalid:
    return Invalid(
        f"{replica.ref} gives no finite number for these rows",
        "it was not made for their missing or extreme values",
        "send the missing values, or train a model that imputes them",
    )
