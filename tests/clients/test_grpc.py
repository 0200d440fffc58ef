"""A client generated from proto/s3router.proto by grpcio-tools."""

import importlib
import json
import pathlib
import sys
import threading
import urllib.request
import wave

import grpc
import pytest
from conftest import CLIPS
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).parents[2] / "proto"


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    out = tmp_path_factory.mktemp("generated")
    assert protoc.main(["", f"-I{PROTO}", f"--python_out={out}", f"--grpc_python_out={out}", "s3router.proto"]) == 0
    sys.path.insert(0, str(out))
    return importlib.import_module("s3router_pb2"), importlib.import_module("s3router_pb2_grpc")


@pytest.fixture
def speech(server, generated):
    messages, services = generated
    with grpc.insecure_channel(server.address) as channel:
        yield messages, services.SpeechStub(channel)


def details(error):
    return dict(error.trailing_metadata())


def test_a_clip_reads_as_over_http(server, speech, clip):
    pb, stub = speech
    for lang in ["tr", "zh_TW"]:
        heard = server.heard(lang, clip(lang))
        request = pb.RecognizeRequest(config=pb.RecognitionConfig(language=lang), audio=clip(lang))
        answer = stub.Recognize(request)
        assert (answer.text, answer.pack.sha256) == (heard["text"], heard["pack"]["sha256"])
        assert [w.word for w in answer.words] == [w["word"] for w in heard["words"]]


def test_readings_and_key_terms(speech, clip):
    pb, stub = speech
    config = pb.RecognitionConfig(language="es", alternatives=3, keyterms=["zapato"])
    answer = stub.Recognize(pb.RecognizeRequest(config=config, audio=clip("es")))
    assert len(answer.alternatives) == 3 and answer.alternatives[0].text == answer.text


def test_the_language_is_heard(speech, clip):
    pb, stub = speech
    answer = stub.Identify(pb.IdentifyRequest(audio=clip("ru"), top=2))
    assert [answer.languages[0].language, len(answer.languages)] == ["ru", 2]
    auto = stub.Recognize(pb.RecognizeRequest(config=pb.RecognitionConfig(language="auto"), audio=clip("ru")))
    assert auto.language == "ru"


def test_packs_are_listed(speech):
    pb, stub = speech
    packs = stub.ListPacks(pb.ListPacksRequest()).packs
    assert len(packs) == 11 and all(p.state == pb.PACK_STATE_READY and p.generation == 1 for p in packs)


def pcm(lang):
    with wave.open(str(CLIPS / f"{lang}.wav"), "rb") as file:
        return file.getframerate(), file.readframes(file.getnframes())


def test_a_stream_is_covered_by_finals(speech):
    pb, stub = speech
    rate, audio = pcm("tr")

    def requests():
        config = pb.RecognitionConfig(language="tr", raw=pb.RawFormat(encoding="pcm_s16le", sample_rate=rate))
        yield pb.StreamingRecognizeRequest(config=pb.StreamingConfig(config=config, interim=True))
        for at in range(0, len(audio), 3200):
            yield pb.StreamingRecognizeRequest(audio=audio[at : at + 3200])
        yield pb.StreamingRecognizeRequest(flush=pb.Flush(id=7))

    told = [(m.WhichOneof("message"), m) for m in stub.StreamingRecognize(requests())]
    kinds = [kind for kind, _ in told]
    assert kinds[0] == "ready" and kinds[-1] == "closed" and "final" in kinds
    assert [m.flushed.id for kind, m in told if kind == "flushed"] == [7]
    finals = [m.final for kind, m in told if kind == "final"]
    assert all(a.end == b.start for a, b in zip(finals, finals[1:])) and finals[0].start == 0
    assert finals[-1].end == pytest.approx(told[-1][1].closed.audio) == pytest.approx(len(audio) / 2 / rate, abs=0.1)
    assert any(f.text for f in finals)


def test_a_stream_hears_its_language_and_lists_readings(speech):
    pb, stub = speech
    rate, audio = pcm("tr")

    def requests():
        raw = pb.RawFormat(encoding="pcm_s16le", sample_rate=rate)
        config = pb.RecognitionConfig(language="auto", languages=["tr", "ru"], raw=raw, alternatives=3)
        yield pb.StreamingRecognizeRequest(config=pb.StreamingConfig(config=config, endpointing_ms=10_000))
        yield pb.StreamingRecognizeRequest(audio=audio)

    told = list(stub.StreamingRecognize(requests()))
    assert not told[0].ready.HasField("pack")
    (final,) = [m.final for m in told if m.WhichOneof("message") == "final"]
    assert final.language == final.pack.id == final.languages[0].language == "tr"
    assert len(final.alternatives) == 3 and final.alternatives[0].text == final.text


def test_errors_come_from_the_closed_list(server, speech, clip):
    pb, stub = speech
    config = pb.RecognitionConfig
    cases = [
        (config(), b"", grpc.StatusCode.INVALID_ARGUMENT, "invalid_request", "language"),
        (config(language="xx"), clip("tr"), grpc.StatusCode.NOT_FOUND, "language_not_found", "lang"),
        (config(language="tr"), b"", grpc.StatusCode.INVALID_ARGUMENT, "empty_audio", None),
        (config(language="tr"), b"no audio at all", grpc.StatusCode.INVALID_ARGUMENT, "unsupported_media", None),
        (config(language="tr", keyterms=["Ω"]), clip("tr"), grpc.StatusCode.INVALID_ARGUMENT, "invalid_request", "keyterm"),
    ]
    for asked, audio, status, code, param in cases:
        with pytest.raises(grpc.RpcError) as caught:
            stub.Recognize(pb.RecognizeRequest(config=asked, audio=audio), metadata=[("x-request-id", "order-66")])
        told = details(caught.value)
        assert (caught.value.code(), told["s3router-code"], told.get("s3router-param")) == (status, code, param)
        envelope = json.loads(told["s3router-error-bin"])
        assert envelope["request_id"] == told["x-request-id"] == "order-66" and envelope["error"]["code"] == code
    with pytest.raises(grpc.RpcError) as caught:
        request = pb.RecognizeRequest(config=config(language="tr"), audio=clip("tr"))
        stub.Recognize(request, metadata=[("grpc-timeout", "1m")])
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    for first in [pb.StreamingRecognizeRequest(audio=b"x"), pb.StreamingRecognizeRequest()]:
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.StreamingRecognize(iter([first])))
        assert details(caught.value)["s3router-param"] == "config"


def test_a_call_that_is_cancelled_is_worked_on_no_further(server, speech, clip):
    pb, stub = speech

    def counted(name):
        metrics = urllib.request.urlopen(server.url("/metrics")).read().decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith(name))

    def wait(until):
        for _ in range(4000):
            if until():
                return
            threading.Event().wait(0.005)
        raise TimeoutError

    rate, audio = pcm("tr")
    minutes = (audio * (9 * 60 * rate * 2 // len(audio)))[: 9 * 60 * rate * 2]
    raw = pb.RawFormat(encoding="pcm_s16le", sample_rate=rate)
    config = pb.RecognitionConfig(language="tr", decoder="beam", raw=raw)
    left, batches = counted("s3router_cancelled_total"), counted("s3router_batch_size_count")
    call = stub.Recognize.future(pb.RecognizeRequest(config=config, audio=minutes))
    wait(lambda: counted("s3router_batch_size_count") > batches)
    assert call.cancel()
    wait(lambda: counted("s3router_cancelled_total") == left + 1)
    done = counted("s3router_batch_size_count")
    stub.Recognize(pb.RecognizeRequest(config=pb.RecognitionConfig(language="tr"), audio=clip("tr")))
    # It went through the whole queue: there was the batch under way, and its own.
    assert counted("s3router_batch_size_count") <= done + 2


def test_health_and_reflection(server, generated):
    with grpc.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ["", "s3router.v1.Speech"]:
            assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == 1
        assert next(health.Watch(health_pb2.HealthCheckRequest())).status == 1
        with pytest.raises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="nothing"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
        assert {"s3router.v1.Speech", "grpc.health.v1.Health"} <= set(services)
