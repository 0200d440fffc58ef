// The waveform and the words below it, on one time axis. Only what is in view is drawn, so that length costs nothing.

const PER_SECOND = 100;  // peaks
const SCALE = 120;       // pixels a second, at least
const LABELS = 92;       // where the words begin, pixels from the top

export class Wave {
  constructor(ids) {
    Object.assign(this, ids);  // wave, tape, canvas, labels, cursor
    this.wave.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.lay()).observe(this.wave);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.clear();
  }

  clear() {
    this.peaks = [];
    this.open = { peak: 0, n: 0 };
    this.labels.replaceChildren();
    this.cursor.hidden = true;
    this.wave.scrollLeft = 0;
    this.lay();
  }

  get seconds() { return this.peaks.length / PER_SECOND; }
  get scale() { return Math.max(SCALE, this.wave.clientWidth / Math.max(this.seconds, 0.1)); }

  /// More samples, full scale 1.
  push(samples, rate, full = 1) {
    const each = rate / PER_SECOND;
    for (const sample of samples) {
      this.open.peak = Math.max(this.open.peak, Math.abs(sample) / full);
      if (++this.open.n >= each) { this.peaks.push(this.open.peak); this.open = { peak: 0, n: 0 }; }
    }
    const following = this.wave.scrollLeft + this.wave.clientWidth > this.tape.clientWidth - 40;
    this.lay();
    if (following) this.wave.scrollLeft = this.tape.clientWidth;
  }

  /// Puts a word where it was said, in two rows by turns.
  label(button, start, end) {
    button.dataset.start = start;
    button.dataset.end = end;
    this.labels.append(button);
    this.place(button, this.labels.childElementCount - 1);
  }

  place(button, i) {
    button.style.left = `${button.dataset.start * this.scale}px`;
    button.style.top = `${LABELS + 6 + (i % 2) * 22}px`;
    button.style.setProperty("--span", `${Math.max(3, (button.dataset.end - button.dataset.start) * this.scale - 2)}px`);
  }

  lay() {
    this.tape.style.width = `${this.seconds * this.scale}px`;
    [...this.labels.children].forEach((button, i) => this.place(button, i));
    this.draw();
  }

  draw() {
    const { clientWidth: width, scrollLeft: left } = this.wave, height = 88, dense = devicePixelRatio || 1;
    if (!width) return;
    this.canvas.width = width * dense;
    this.canvas.height = height * dense;
    this.canvas.style.width = `${width}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(dense, dense);
    pen.fillStyle = getComputedStyle(this.canvas).color;
    const step = 3, perPixel = PER_SECOND / this.scale;
    for (let x = 0; x < width; x += step) {
      const from = Math.floor((left + x) * perPixel);
      const to = Math.max(from + 1, Math.floor((left + x + step) * perPixel));
      if (from >= this.peaks.length) break;
      const tall = Math.max(2, Math.sqrt(Math.max(0, ...this.peaks.slice(from, to))) * (height - 8));
      pen.beginPath();
      pen.roundRect(x, (height - tall) / 2, step - 1, tall, 1);
      pen.fill();
    }
  }

  /// The place that is played.
  show(seconds) {
    this.cursor.hidden = false;
    const x = seconds * this.scale;
    this.cursor.style.left = `${x}px`;
    if (x < this.wave.scrollLeft || x > this.wave.scrollLeft + this.wave.clientWidth - 20) this.wave.scrollLeft = x - 60;
  }
}
