"""OpenAI's own client, unchanged, against `/v1/audio/transcriptions` and `/v1/models`."""

import io
import re

import openai
import pytest


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url("/v1"), api_key="unused", max_retries=0)


@pytest.fixture
def spoken(server, clip):
    """A Turkish clip as a file to send, and what `/transcribe` hears in it."""
    audio = clip("tr")
    return lambda: ("clip.wav", io.BytesIO(audio)), server.heard("tr", audio)


def create(client, file, **wishes):
    return client.audio.transcriptions.create(file=file(), model="s3router-tr", **wishes)


def test_json(client, spoken):
    file, heard = spoken
    answer = create(client, file)
    assert answer.text == heard["text"]
    assert answer.usage.type == "duration" and answer.usage.seconds == pytest.approx(heard["duration"], abs=1)


def test_language_wins_over_the_models_name(client, spoken):
    file, heard = spoken
    answer = client.audio.transcriptions.create(file=file(), model="whisper-1", language="tr")
    assert answer.text == heard["text"]


def test_text(client, spoken):
    file, heard = spoken
    assert create(client, file, response_format="text").strip() == heard["text"]


def test_srt_and_vtt(client, spoken):
    file, heard = spoken
    srt, vtt = (create(client, file, response_format=form) for form in ("srt", "vtt"))
    assert re.match(r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n", srt)
    assert vtt.startswith("WEBVTT\n\n00:")
    for cues in (srt, vtt):
        spoken_lines = [line for line in cues.splitlines() if line and not re.search(r"-->|^\d+$|WEBVTT", line)]
        assert " ".join(spoken_lines) == heard["text"]


def test_verbose_json_with_words_and_segments(client, spoken):
    file, heard = spoken
    answer = create(client, file, response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert answer.text == heard["text"] and answer.language == "tr"
    assert answer.duration == pytest.approx(heard["duration"])
    assert [(w.word, w.start, w.end) for w in answer.words] == [(w["word"], w["start"], w["end"]) for w in heard["words"]]
    assert " ".join(segment.text for segment in answer.segments) == heard["text"]
    assert all(a.end <= b.start for a, b in zip(answer.segments, answer.segments[1:]))
    only_words = create(client, file, response_format="verbose_json", timestamp_granularities=["word"])
    assert only_words.words and not only_words.segments


def test_streaming(client, spoken):
    file, heard = spoken
    events = list(create(client, file, stream=True))
    assert [e.type for e in events[:-1]] == ["transcript.text.delta"] * (len(events) - 1) and len(events) > 1
    assert "".join(e.delta for e in events[:-1]) == heard["text"]
    assert events[-1].type == "transcript.text.done" and events[-1].text == heard["text"]


def test_models(client):
    ids = {model.id for model in client.models.list()}
    assert {"s3router", "s3router-tr", "s3router-zh_TW"} <= ids
    assert client.models.retrieve("s3router-tr").owned_by == "s3router"
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("s3router-tlh")
    assert refused.value.code == "language_not_found"


def test_errors_are_the_clients_own(client, spoken):
    file, _ = spoken
    with pytest.raises(openai.NotFoundError) as refused:
        client.audio.transcriptions.create(file=file(), model="s3router", language="xx")
    assert refused.value.code == "language_not_found" and "did you mean" not in refused.value.message
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.transcriptions.create(file=("clip.wav", io.BytesIO(b"")), model="s3router-tr")
    assert refused.value.code == "empty_audio"
    with pytest.raises(openai.APIStatusError) as refused:
        client.audio.transcriptions.create(file=("clip.wav", io.BytesIO(b"no audio at all")), model="s3router-tr")
    assert refused.value.status_code == 415
