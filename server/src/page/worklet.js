// The microphone's samples, as 16-bit PCM in pieces of a tenth of a second.
registerProcessor("pcm", class extends AudioWorkletProcessor {
  piece = new Int16Array(sampleRate / 10);
  filled = 0;

  process([[samples]]) {
    for (const sample of samples ?? []) {
      this.piece[this.filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.filled === this.piece.length) {
        this.port.postMessage(this.piece.buffer, [this.piece.buffer]);
        this.piece = new Int16Array(sampleRate / 10);
        this.filled = 0;
      }
    }
    return true;
  }
});
