// Words → subtitles and files. The rules are those of the server (render/cues.rs): a pause, six seconds, two lines.

const PAUSE = 0.7, LONGEST = 6, WIDEST = 84;

function cues(words, space) {
  const cues = [];
  for (const word of words) {
    const cue = cues.at(-1);
    const fits = cue && word.start - cue.end <= PAUSE && word.end - cue.start <= LONGEST
      && cue.text.length + space.length + word.word.length <= WIDEST;
    if (fits) { cue.text += space + word.word; cue.end = word.end; }
    else cues.push({ start: word.start, end: word.end, text: word.word });
  }
  return cues;
}

function clock(seconds, point) {
  const ms = Math.round(seconds * 1000);
  const pad = (n, width) => String(n).padStart(width, "0");
  return `${pad(Math.floor(ms / 3600000), 2)}:${pad(Math.floor(ms / 60000) % 60, 2)}:${pad(Math.floor(ms / 1000) % 60, 2)}${point}${pad(ms % 1000, 3)}`;
}

const FORMS = {
  srt: r => cues(r.words, r.space).map((c, i) => `${i + 1}\n${clock(c.start, ",")} --> ${clock(c.end, ",")}\n${c.text}\n`).join("\n"),
  vtt: r => "WEBVTT\n\n" + cues(r.words, r.space).map(c => `${clock(c.start, ".")} --> ${clock(c.end, ".")}\n${c.text}\n`).join("\n"),
  txt: r => r.text + "\n",
  json: r => JSON.stringify(r.json, null, 2) + "\n",
};

/// Hands `result` to the user as a file.
export function download(result, form) {
  const types = { srt: "application/x-subrip", vtt: "text/vtt", txt: "text/plain", json: "application/json" };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([FORMS[form](result)], { type: types[form] }));
  link.download = `${result.name.replace(/\.[^.]*$/, "") || "transcript"}.${form}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
