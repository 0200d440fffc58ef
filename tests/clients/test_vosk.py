"""A Vosk client, unchanged."""

import asyncio
import json

import vosk
from conftest import CLIPS


def test_the_test_client_of_vosk_server_hears_what_was_said(server):
    clip = CLIPS / "tr.wav"
    answers = asyncio.run(vosk.run_test(server.url("/vosk?lang=tr", "ws"), str(clip)))
    answers = [json.loads(answer) for answer in answers]
    assert all("partial" in a or "text" in a for a in answers)
    text = " ".join(a["text"] for a in answers if a.get("text"))
    assert text == server.heard("tr", clip.read_bytes())["text"]
