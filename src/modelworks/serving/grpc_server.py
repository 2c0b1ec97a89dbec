"""The Open Inference Protocol over gRPC, in the event loop and with the data plane of the HTTP server.

Source: https://github.com/kserve/open-inference-protocol (gRPC); the health protocol is gRPC's own, grpc.health.v1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from modelworks.core.errors import (
    Busy,
    Conflict,
    Denied,
    Invalid,
    ModelworksError,
    NotFound,
    NotReady,
    TooMany,
    Unavailable,
    Unknown,
)
from modelworks.serving import forms, paths
from modelworks.serving import inference_pb2 as pb
from modelworks.serving.about import origin
from modelworks.serving.inference_protocol import describe, manage
from modelworks.serving.protocol import HOT_BODY
from modelworks.serving.tick import Tick

_log = logging.getLogger("modelworks.serving")

SERVICE = "inference.GRPCInferenceService"
_STATUS: tuple[tuple[type[ModelworksError], grpc.StatusCode], ...] = (
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (Conflict, grpc.StatusCode.FAILED_PRECONDITION),
    (Invalid, grpc.StatusCode.INVALID_ARGUMENT),
    (NotReady, grpc.StatusCode.UNAVAILABLE),
    (Unknown, grpc.StatusCode.UNAUTHENTICATED),
    (Denied, grpc.StatusCode.PERMISSION_DENIED),
    (Busy, grpc.StatusCode.UNAVAILABLE),
    (TooMany, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
)
_LONGEST_NAME = 500
_LONGEST_TOLD = 1000
"""Characters of an error: it is sent in a header, which has a limit."""
_GRACE = 5.0

Call = Callable[[Any], Awaitable[Message | bytes]]


class GrpcServer:
    """Answers on a port of its own.

    Args:
        tick: What arrives together, whether by HTTP or by gRPC, is predicted and logged together.
        host: Address to listen on.
        port: Port to listen on; 0 lets the system choose.
        shared: Whether other processes of this server listen on it as well; the system spreads connections over them.
    """

    def __init__(self, tick: Tick, host: str, port: int, shared: bool = False) -> None:
        self._shared = shared
        self.tick = tick
        self.fleet = tick.plane.fleet
        self._at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._server: grpc.aio.Server | None = None
        self._health = health.aio.HealthServicer()

    async def start(self) -> int:
        """Begin to answer; returns the port.

        Raises:
            Unavailable: the port is taken.
        """
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self.tick.plane.max_body),
                ("grpc.max_send_message_length", -1),
                # Two servers on one port would take turns unnoticed.
                ("grpc.so_reuseport", int(self._shared)),
            ]
        )
        calls = {
            "ServerLive": (pb.ServerLiveRequest, self._live),
            "ServerReady": (pb.ServerReadyRequest, self._ready),
            "ModelReady": (pb.ModelReadyRequest, self._model_ready),
            "ServerMetadata": (pb.ServerMetadataRequest, self._metadata),
            "ModelMetadata": (pb.ModelMetadataRequest, self._model_metadata),
            "ModelInfer": (forms.Message, self._infer),
            "RepositoryIndex": (pb.RepositoryIndexRequest, self._index),
            "RepositoryModelLoad": (pb.RepositoryModelLoadRequest, self._load),
            "RepositoryModelUnload": (pb.RepositoryModelUnloadRequest, self._unload),
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(self._handler(*call)) for name, call in calls.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            port: int = self._server.add_insecure_port(self._at)
        except RuntimeError as error:
            raise Unavailable(
                f"cannot listen on {self._at}",
                str(error),
                "stop what uses it, or choose another with server.grpc_port",
            ) from error
        await self._server.start()
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return port

    async def stop(self) -> None:
        """Take no more calls; those under way are answered first."""
        if self._server is not None:
            await self._health.enter_graceful_shutdown()
            await self._server.stop(_GRACE)

    def _handler(self, kind: Any, call: Call) -> Callable[[bytes, Any], Awaitable[bytes]]:
        """A call from the bytes of its request to those of its answer."""

        async def answered(raw: bytes, context: grpc.aio.ServicerContext) -> bytes:
            try:
                request = _read(kind, raw)
                allowance = self.tick.authorize(_told(context, "authorization"), _model(request))
                if allowance is not None and (refused := allowance.spend()):
                    raise refused
                if isinstance(request, forms.Message):
                    id, trace = (_told(context, name) or b"" for name in ("x-request-id", "traceparent"))
                    request.origin = origin("" if allowance is None else allowance.caller, id, trace)
                answer = await call(request)
            except ModelworksError as error:
                code = next(
                    (code for one, code in _STATUS if isinstance(error, one)), grpc.StatusCode.INTERNAL
                )
                await context.abort(code, str(error)[:_LONGEST_TOLD])
            except Exception:
                _log.exception("a gRPC call could not be answered")
                await context.abort(
                    grpc.StatusCode.INTERNAL, "the request could not be answered; see the log"
                )
            return answer if isinstance(answer, bytes) else answer.SerializeToString()

        return answered

    async def _infer(self, message: forms.Message) -> bytes:
        asked = message.parsed
        path = _path(asked.model_name, asked.model_version, "infer")
        if asked.model_version or len(message) > HOT_BODY:  # it may be loaded, or takes long to read
            result = (await asyncio.to_thread(self.tick.plane.results, [(path, message, message.origin)]))[0]
        else:
            result = await self.tick.ask(path, message, message.origin)
        if isinstance(result, ModelworksError):
            raise result
        return result

    async def _live(self, _request: pb.ServerLiveRequest) -> Message:
        return pb.ServerLiveResponse(live=True)

    async def _ready(self, _request: pb.ServerReadyRequest) -> Message:
        return pb.ServerReadyResponse(ready=self.fleet.ready)

    async def _metadata(self, _request: pb.ServerMetadataRequest) -> Message:
        return pb.ServerMetadataResponse(**(await self._describe(b"/v2"))[1])

    async def _model_ready(self, request: pb.ModelReadyRequest) -> Message:
        try:
            status, _ = await self._describe(_path(request.name, request.version, "ready"))
        except NotFound:  # what is not there is not ready
            status = 404
        return pb.ModelReadyResponse(ready=status == 200)

    async def _model_metadata(self, request: pb.ModelMetadataRequest) -> Message:
        _, told = await self._describe(_path(request.name, request.version))
        tensors = {
            side: [
                pb.ModelMetadataResponse.TensorMetadata(
                    name=one["name"], datatype=one["datatype"], shape=one["shape"]
                )
                for one in told[side]
            ]
            for side in ("inputs", "outputs")
        }
        return pb.ModelMetadataResponse(
            name=told["name"], versions=told["versions"], platform=told["platform"], **tensors
        )

    async def _index(self, request: pb.RepositoryIndexRequest) -> Message:
        asked = b'{"ready":true}' if request.ready else b""
        found = await asyncio.to_thread(manage, self.fleet, paths.REPOSITORY + b"index", asked)
        return pb.RepositoryIndexResponse(
            models=[pb.RepositoryIndexResponse.ModelIndex(**one) for one in found]
        )

    async def _load(self, request: pb.RepositoryModelLoadRequest) -> Message:
        await self._manage(request, b"load")
        return pb.RepositoryModelLoadResponse()

    async def _unload(self, request: pb.RepositoryModelUnloadRequest) -> Message:
        await self._manage(request, b"unload")
        return pb.RepositoryModelUnloadResponse()

    async def _manage(
        self, request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest, verb: bytes
    ) -> None:
        # KServe's clients write the model's name where Triton's write the repository's.
        name = _path(request.model_name or request.repository_name).removeprefix(paths.MODELS)
        path = paths.REPOSITORY + b"models/" + name + b"/" + verb
        await asyncio.to_thread(manage, self.fleet, path)

    async def _describe(self, path: bytes) -> tuple[int, Any]:
        """See `inference_protocol.describe`; it may load a version."""
        return await asyncio.to_thread(describe, self.fleet, path)


def _read(kind: Any, raw: bytes) -> Any:
    if kind is forms.Message:
        return forms.Message.of(raw)
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise Invalid(
            f"this is not a {kind.__name__}", str(error), "use the protocol's .proto file"
        ) from None


def _model(request: Any) -> str | None:
    """The model that a request is about."""
    asked = request.parsed if isinstance(request, forms.Message) else request
    name = getattr(asked, "model_name", "") or getattr(asked, "name", "")
    return paths.model_of(_path(name)) if name else None


def _path(model: str, version: str = "", verb: str = "") -> bytes:
    if max(len(model), len(version)) > _LONGEST_NAME:
        raise Invalid("the model's name is too long", f"up to {_LONGEST_NAME} are read", "correct it")
    return paths.path_of(model, version, verb)


def _told(context: grpc.aio.ServicerContext, wanted: str) -> bytes | None:
    """What a call says beside its request, under a name."""
    for name, value in context.invocation_metadata() or ():
        if name == wanted:
            return value.encode("latin-1", "replace") if isinstance(value, str) else bytes(value)
    return None
