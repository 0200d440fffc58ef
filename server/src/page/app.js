// The page: what the user does, what is shown. The socket is in live.js, the picture in wave.js.

import { microphone, socket, wav } from "./live.js";
import { download } from "./subtitles.js";
import { Wave } from "./wave.js";

const $ = id => document.getElementById(id);
const wave = new Wave({ wave: $("wave"), tape: $("tape"), canvas: $("canvas"), labels: $("labels"), cursor: $("cursor") });
const names = new Intl.DisplayNames(undefined, { type: "language", fallback: "none" });
let key = sessionStorage.getItem("key") ?? "";
let recording = null;   // { stop() } while the microphone is open
let working = null;     // AbortController of a file being read
let result = null;      // what the downloads are made of

const ask = (path, options = {}) => fetch(path, { ...options, headers: key ? { authorization: `Bearer ${key}` } : {} });

// ---- languages and errors ----

function named(id) {
  try { return `${names.of(id.replaceAll("_", "-")) ?? id} (${id})`; } catch { return id; }
}

function complain(error) {
  $("error").textContent = error?.message ?? error ?? "";
  $("error").hidden = !error;
}

/// The server answers while it is still loading; ask again until it knows its packs.
async function languages() {
  const answer = await ask("v1/packs").catch(() => null);
  if (!answer?.ok) {
    const error = answer ? (await answer.json()).error : { message: "The server does not answer." };
    $("key-field").hidden = error.code !== "unauthorized";
    complain(error.code === "loading" ? null : error.message);
    if (error.code !== "unauthorized") setTimeout(languages, 1500);
    return;
  }
  complain(null);
  $("key-field").hidden = true;
  const list = await answer.json();
  $("notice").textContent = list.notice ?? "";
  $("notice").hidden = !list.notice;
  const ready = list.packs.filter(p => p.state === "ready");
  const options = ready.map(p => new Option(named(p.language), p.language)).sort((a, b) => a.text.localeCompare(b.text));
  if (ready.length > 1 && await identifies()) options.unshift(new Option("Detect the language", "auto"));
  $("lang").replaceChildren(...options);
  const own = navigator.language.slice(0, 2);
  $("lang").value = ready.find(p => p.language.startsWith(own))?.language ?? ready[0]?.language;
  for (const id of ["lang", "record", "file"]) $(id).disabled = false;
}

const identifies = () => ask("openapi.json").then(a => a.json()).then(d => Boolean(d.paths["/identify"]), () => false);

$("controls").addEventListener("submit", e => {
  e.preventDefault();
  key = $("key").value.trim();
  sessionStorage.setItem("key", key);
  languages();
});

// ---- what is shown ----

function begin(name, status) {
  complain(null);
  working?.abort();
  result = { name, space: " ", words: [], text: "", json: [] };
  $("heard").hidden = false;
  $("idle").hidden = true;
  $("name").textContent = name;
  $("finals").replaceChildren();
  $("facts").hidden = $("downloads").hidden = true;
  $("play").disabled = true;
  $("audio").pause();
  partial("", "");
  wave.clear();
  say(status, true);
}

/// Back to the beginning: it failed, and there is nothing to show.
function nothing() {
  $("heard").hidden = true;
  $("idle").hidden = false;
}

function say(status, live = false) {
  $("status").textContent = status;
  $("status").classList.toggle("live", live);
}

function partial(stable, unstable) {
  $("stable").textContent = stable;
  $("unstable").textContent = unstable;
}

function button(word) {
  const b = document.createElement("button");
  const sure = Math.round(word.confidence * 100);
  b.className = `word ${word.confidence >= 0.85 ? "sure" : word.confidence >= 0.6 ? "fair" : "doubt"}`;
  b.textContent = word.word;
  b.title = `${word.start.toFixed(2)} to ${word.end.toFixed(2)} s, ${sure} % sure`;
  b.onclick = () => seek(word.start);
  return b;
}

/// Words that will not change any more.
function settle(words, lang, spaced) {
  $("finals").lang = lang.replaceAll("_", "-");
  result.space = spaced ? " " : "";
  for (const word of words) {
    const inText = button(word), inWave = button(word);
    inWave.tabIndex = -1;
    if ($("finals").childNodes.length && spaced) $("finals").append(" ");
    $("finals").append(inText);
    wave.label(inWave, word.start, word.end);
    result.words.push(word);
  }
  result.text = result.words.map(w => w.word).join(result.space);
}

function fact(id, text, title = "") {
  $(id).textContent = text;
  $(id).title = title;
}

function proof(pack) {
  fact("pack", `${named(pack.id)}, generation ${pack.generation}, ${pack.sha256.slice(0, 12)}`, `sha256 ${pack.sha256}`);
  $("facts").hidden = false;
}

function finish() {
  if (!result.words.length) {
    const empty = document.createElement("span");
    empty.className = "empty";
    empty.textContent = "Nothing was said.";
    $("finals").replaceChildren(empty);
  }
  $("downloads").hidden = !result.words.length;
}

$("downloads").onclick = e => e.target.dataset.form && download(result, e.target.dataset.form);

// ---- a file ----

async function file(blob) {
  if (recording) return;
  begin(blob.name, "Reading…");
  picture(blob);
  const work = working = new AbortController();
  try {
    const lang = encodeURIComponent($("lang").value);
    const answer = await ask(`transcribe?lang=${lang}`, { method: "POST", body: blob, signal: work.signal });
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.error.message);
    result.json = body;
    settle(body.words, body.lang, body.text.includes(" ") || body.words.length < 2);
    proof(body.pack);
    const t = body.timing;
    fact("duration", `${body.duration.toFixed(2)} s, ${t.rtfx.toFixed(0)} × real time`);
    fact("latency", `${t.total_ms.toFixed(0)} ms`, `upload ${t.upload_ms.toFixed(0)}, decode ${t.decode_ms.toFixed(0)}, queue ${t.queue_ms.toFixed(0)}, engine ${t.infer_ms.toFixed(0)} ms`);
    fact("request", body.request_id);
    say("Done");
    finish();
  } catch (error) {
    if (work.signal.aborted) return;
    nothing();
    complain(error);
  }
}

/// The waveform and the player, where the browser can decode the file.
async function picture(blob) {
  URL.revokeObjectURL($("audio").src);
  $("audio").src = URL.createObjectURL(blob);
  $("play").disabled = false;
  const mine = result;
  try {
    const audio = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(await blob.arrayBuffer());
    if (mine === result && !wave.seconds) wave.push(audio.getChannelData(0), audio.sampleRate);
  } catch { /* the server may know more formats than the browser */ }
}

$("file").onchange = e => { if (e.target.files[0]) file(e.target.files[0]); e.target.value = ""; };
for (const [type, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  addEventListener(type, e => {
    if (type !== "dragleave") e.preventDefault();
    document.body.classList.toggle("dragging", over && !recording);
    if (type === "drop" && e.dataTransfer.files[0] && !$("file").disabled) file(e.dataTransfer.files[0]);
  });
}

// ---- the microphone ----

$("record").onclick = async () => {
  if (recording) return recording.stop();
  $("record").disabled = true;
  try { await record(); } catch (error) {
    complain(error.name === "NotAllowedError" ? "The browser did not allow the microphone." : error);
    if (result?.words.length) { say("Broken off"); finish(); } else nothing();
  }
  recording = null;
  $("record").disabled = $("lang").disabled = $("file").disabled = false;
  $("record").setAttribute("aria-pressed", "false");
  $("record-label").textContent = "Record";
};

async function record() {
  const pieces = [], lags = [];
  let stream = null, rate = 0, stopped = false;
  const seconds = () => pieces.reduce((sum, p) => sum + p.length, 0) / rate;
  const mic = await microphone(piece => {
    if (stopped) return;
    if (!rate) rate = mic.rate;
    pieces.push(piece);
    wave.push(piece, rate, 32768);
    stream?.send(piece.buffer);
    say(`Listening, ${seconds().toFixed(0)} s`, true);
  });
  rate = mic.rate;
  begin("Recording", "Listening");
  $("record").disabled = false;
  $("lang").disabled = $("file").disabled = true;
  $("record").setAttribute("aria-pressed", "true");
  $("record-label").textContent = "Stop";
  const end = new Promise(resolve => { recording = { stop: resolve }; });
  try {
    stream = socket({ lang: $("lang").value, encoding: "pcm_s16le", sample_rate: rate }, key, message => told(message, lags));
    pieces.forEach(piece => stream.send(piece.buffer));
    await Promise.race([end, stream.closed]);
    stopped = true;
    await mic.close();
    say("Finishing…", true);
    stream.stop();
    await stream.closed;
  } finally {
    stopped = true;
    mic.close().catch(() => {});
    const mine = wav(pieces, rate);
    URL.revokeObjectURL($("audio").src);
    $("audio").src = URL.createObjectURL(mine);
    $("play").disabled = !pieces.length;
  }
  fact("duration", `${seconds().toFixed(2)} s`);
  say("Done");
  finish();
}

function told(message, lags) {
  switch (message.type) {
    case "ready":
      result.request = message.session;
      fact("request", message.session);
      fact("duration", "…");
      fact("latency", "…");
      if (message.pack) proof(message.pack);
      break;
    case "partial":
      partial((result.words.length && result.space) + message.stable, message.unstable);
      lags.push(message.lag_ms);
      break;
    case "final": {
      partial("", "");
      result.json.push(message);
      settle(message.words, message.lang, message.text.includes(" ") || message.words.length < 2);
      if (message.pack) proof(message.pack);
      const typical = lags.toSorted((a, b) => a - b)[lags.length >> 1];
      const partials = typical === undefined ? "" : `, partials ${typical.toFixed(0)} ms`;
      fact("latency", `final ${message.lag_ms.toFixed(0)} ms${partials}`, "since the last sample had come");
      break;
    }
    case "warning":
      say(message.message, true);
  }
}

// ---- playing ----

const audio = $("audio");
$("play").onclick = () => (audio.paused ? audio.play() : audio.pause());
audio.onplay = () => { $("play").textContent = "Pause"; follow(); };
audio.onpause = () => { $("play").textContent = "Play"; };
audio.onerror = () => { $("play").disabled = true; };

function seek(seconds) {
  if ($("play").disabled) return;
  audio.currentTime = seconds;
  audio.play();
}

function follow() {
  const now = audio.currentTime;
  wave.show(now);
  $("time").textContent = `${Math.floor(now / 60)}:${(now % 60).toFixed(1).padStart(4, "0")}`;
  const at = result.words.findIndex(w => now >= w.start && now < w.end);
  for (const list of [$("finals").querySelectorAll(".word"), $("labels").children]) {
    [...list].forEach((word, i) => word.classList.toggle("now", i === at));
  }
  if (!audio.paused) requestAnimationFrame(follow);
}

/// Arrows walk through the words of the waveform, Enter plays from there.
$("wave").addEventListener("keydown", e => {
  const words = [...$("labels").children], step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
  if (!step || !words.length) return;
  e.preventDefault();
  const at = words.indexOf(document.activeElement);
  const next = words[Math.max(0, Math.min(words.length - 1, at < 0 ? 0 : at + step))];
  next.focus();
  next.scrollIntoView({ block: "nearest", inline: "center" });
});
$("tape").addEventListener("click", e => {
  if (e.target.closest(".word")) return;
  seek((e.clientX - $("tape").getBoundingClientRect().left) / wave.scale);
});

languages();
