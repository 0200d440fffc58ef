// Microphone and socket. Pieces of PCM go to the server as they come; what it says goes to `on`.

/// Opens the microphone; `on(piece)` gets an Int16Array each tenth of a second.
export async function microphone(on) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  const context = new AudioContext();
  await context.audioWorklet.addModule("page/worklet.js");
  const source = context.createMediaStreamSource(stream);
  const pcm = new AudioWorkletNode(context, "pcm", { numberOfOutputs: 0 });
  pcm.port.onmessage = e => on(new Int16Array(e.data));
  source.connect(pcm);
  return {
    rate: context.sampleRate,
    close() {
      stream.getTracks().forEach(track => track.stop());
      return context.close();
    },
  };
}

/// A stream to the server. `send(piece)`, `stop()`; `closed` settles when all is said, with the error if there was one.
export function socket(start, key, on) {
  const url = new URL("transcribe/stream", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url, ["s3router.v1", ...(key ? [`s3router.key.${key}`] : [])]);
  const queue = [JSON.stringify({ type: "start", ...start })];
  let failure = null;
  const send = message => { socket.readyState === WebSocket.OPEN ? socket.send(message) : queue.push(message); };
  const closed = new Promise((resolve, reject) => {
    socket.onopen = () => queue.splice(0).forEach(message => socket.send(message));
    socket.onmessage = e => {
      const message = JSON.parse(e.data);
      if (message.type === "error") failure = message.error.message;
      on(message);
    };
    socket.onclose = e => {
      if (e.code === 1000 && !failure) resolve();
      else reject(new Error(failure ?? "The connection to the server broke off."));
    };
  });
  return { send, stop: () => send(JSON.stringify({ type: "stop" })), closed };
}

/// Pieces of PCM as a WAV file, to be played and posted.
export function wav(pieces, rate) {
  const bytes = 2 * pieces.reduce((sum, piece) => sum + piece.length, 0);
  const head = new DataView(new ArrayBuffer(44));
  const text = (at, tag) => [...tag].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF"); head.setUint32(4, 36 + bytes, true); text(8, "WAVEfmt "); head.setUint32(16, 16, true);
  head.setUint16(20, 1, true); head.setUint16(22, 1, true); head.setUint32(24, rate, true);
  head.setUint32(28, 2 * rate, true); head.setUint16(32, 2, true); head.setUint16(34, 16, true);
  text(36, "data"); head.setUint32(40, bytes, true);
  return new Blob([head, ...pieces], { type: "audio/wav" });
}
