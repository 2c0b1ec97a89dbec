"""KServe's own clients, REST and gRPC."""

from __future__ import annotations

import asyncio

import grpc as grpcio
import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def over_rest(call):
    async def whole():
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        try:
            return await call(client)
        finally:
            await client.close()

    return asyncio.run(whole())


def over_grpc(at, call):
    async def whole():
        async with InferenceGRPCClient(at) as client:
            return await call(client)

    return asyncio.run(whole())


def request(ten, binary, **more):
    tensor = InferInput("input", list(ten.shape), "FP32")
    tensor.set_data_from_numpy(ten, binary_data=binary)
    return InferRequest("score", [tensor], **more)


def probabilities(answer):
    return answer.get_output_by_name("probabilities").as_numpy()


def test_health(http, grpc):
    base = f"http://{http}"
    assert over_rest(lambda client: client.is_server_live(base)) is True
    assert over_rest(lambda client: client.is_server_ready(base)) is True
    assert over_rest(lambda client: client.is_model_ready(base, "score")) is True
    assert over_rest(lambda client: client.is_model_ready(base, "planned")) is False
    assert over_rest(lambda client: client.is_model_ready(base, "nothing")) is False
    assert over_grpc(grpc, lambda client: client.is_server_live()) is True
    assert over_grpc(grpc, lambda client: client.is_server_ready()) is True
    assert over_grpc(grpc, lambda client: client.is_model_ready("score")) is True
    assert over_grpc(grpc, lambda client: client.is_model_ready("planned")) is False


@pytest.mark.parametrize("binary", [True, False])
def test_infer(http, grpc, ten, binary):
    sent = request(ten, binary, request_id="a-7")
    found = over_rest(lambda client: client.infer(f"http://{http}", sent, "score"))
    assert (found.id, found.model_name) == ("a-7", "score")
    assert probabilities(found).shape == (2, 2)
    other = over_grpc(grpc, lambda client: client.infer(request(ten, binary, request_id="a-8")))
    assert (other.id, other.model_name) == ("a-8", "score")
    np.testing.assert_allclose(probabilities(found), probabilities(other), atol=1e-6)


def test_outputs_as_raw_tensors(http, ten):
    wanted = [RequestedOutput("probabilities", {"binary_data": True})]
    sent = request(ten, True, request_outputs=wanted)
    found = over_rest(lambda client: client.infer(f"http://{http}", sent, "score"))
    plain = over_rest(lambda client: client.infer(f"http://{http}", request(ten, False), "score"))
    np.testing.assert_allclose(probabilities(found), probabilities(plain), atol=1e-6)


@pytest.mark.parametrize("binary", [True, False])
def test_texts(http, grpc, flight, binary):
    inputs = []
    for name, array in flight.items():
        text = array.dtype == object
        tensor = InferInput(name, [2], "BYTES" if text else "FP64")
        values = (
            np.array([one.encode() for one in array], dtype=object) if text else np.nan_to_num(array, nan=3)
        )
        tensor.set_data_from_numpy(values, binary_data=binary)
        inputs.append(tensor)
    sent = InferRequest("delay", inputs)
    found = over_rest(lambda client: client.infer(f"http://{http}", sent, "delay"))
    other = over_grpc(grpc, lambda client: client.infer(InferRequest("delay", inputs)))
    np.testing.assert_allclose(probabilities(found), probabilities(other), atol=1e-6)


def test_what_is_refused(http, grpc, ten):
    wrong = InferRequest("score", [InferInput("nothing", [1, 10], "FP32", data=ten[:1].reshape(-1).tolist())])
    with pytest.raises(httpx.HTTPStatusError, match="no input 'nothing'") as error:
        over_rest(lambda client: client.infer(f"http://{http}", wrong, "score"))
    assert error.value.response.status_code == 400
    with pytest.raises(grpcio.RpcError) as error:
        over_grpc(grpc, lambda client: client.infer(wrong))
    assert error.value.code() is grpcio.StatusCode.INVALID_ARGUMENT
