#!/usr/bin/env python3
"""The client that comes with vosk-server (websocket/test.py), as its users run it: one frame, one answer."""

import asyncio
import sys
import wave

import websockets


async def run_test(uri, path):
    said = []
    async with websockets.connect(uri) as websocket:
        wf = wave.open(path, "rb")
        await websocket.send('{ "config" : { "sample_rate" : %d } }' % (wf.getframerate()))
        buffer_size = int(wf.getframerate() * 0.2)  # 0.2 seconds of audio
        while True:
            data = wf.readframes(buffer_size)
            if len(data) == 0:
                break
            await websocket.send(data)
            said.append(await websocket.recv())
        await websocket.send('{"eof" : 1}')
        said.append(await websocket.recv())
    return said


if __name__ == "__main__":
    for answer in asyncio.run(run_test(sys.argv[1], sys.argv[2])):
        print(answer)
