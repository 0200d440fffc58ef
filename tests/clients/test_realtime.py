"""OpenAI's SDK in a realtime transcription session."""

import asyncio
import base64
import wave

from conftest import CLIPS
from openai import AsyncOpenAI


async def listen(server, path, turns):
    client = AsyncOpenAI(api_key="none", base_url=server.url("/v1"), websocket_base_url=server.url("/v1", "ws"))
    deltas = []
    async with client.realtime.connect(model="s3router-tr", extra_query={"intent": "transcription"}) as connection:
        wav = wave.open(str(path), "rb")
        await connection.session.update(
            session={
                "type": "transcription",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": wav.getframerate()},
                        "transcription": {"model": "s3router", "language": "tr"},
                        "turn_detection": turns,
                    }
                },
            }
        )
        audio = wav.readframes(wav.getnframes()) + (bytes(64000) if turns else b"")
        for at in range(0, len(audio), 6400):
            await connection.input_audio_buffer.append(audio=base64.b64encode(audio[at : at + 6400]).decode())
        if not turns:
            await connection.input_audio_buffer.commit()
        async for event in connection:
            assert event.type != "error", event
            if event.type == "conversation.item.input_audio_transcription.delta":
                deltas.append(event.delta)
            if event.type == "conversation.item.input_audio_transcription.completed":
                return event.transcript, "".join(deltas)


def test_a_committed_buffer_is_transcribed(server):
    clip = CLIPS / "tr.wav"
    transcript, deltas = asyncio.run(listen(server, clip, None))
    assert transcript == deltas == server.heard("tr", clip.read_bytes())["text"]


def test_voice_activity_ends_turns(server):
    turns = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}
    transcript, _ = asyncio.run(listen(server, CLIPS / "tr.wav", turns))
    assert transcript
