// The page as a person meets it: files, microphone, keyboard, errors, light and dark, wide and narrow.

import { chromium } from "playwright-core";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const CLIPS = fileURLToPath(new URL("../../core/demo/clips/", import.meta.url));
const shots = process.env.SHOTS;
const folder = mkdtempSync(join(tmpdir(), "s3router-"));
let server, url, browser;

/// The program, and the address it says it listens on.
function serve(...flags) {
  const child = spawn(process.env.S3ROUTER, ["serve", "--listen", "127.0.0.1:0", ...flags], { stdio: ["ignore", "ignore", "pipe"] });
  return new Promise((resolve, reject) => {
    let log = "", asked = false;
    child.on("exit", code => reject(new Error(`the server ended with ${code}: ${log}`)));
    child.stderr.on("data", async chunk => {
      log += chunk;
      const address = log.match(/listening on (http:\/\/[\d.:]+)/)?.[1];
      if (!address || asked) return;
      asked = true;
      while (!(await fetch(`${address}/readyz`)).ok) await new Promise(r => setTimeout(r, 50));
      resolve({ child, url: address });
    });
  });
}

/// A clip with silence after it: Chromium plays the file again and again.
function microphone(lang) {
  const wav = readFileSync(join(CLIPS, `${lang}.wav`));
  const silence = Buffer.alloc(16000 * 2 * 4);
  const file = Buffer.concat([wav, silence]);
  file.writeUInt32LE(file.length - 8, 4);
  file.writeUInt32LE(file.readUInt32LE(40) + silence.length, 40);
  const path = join(folder, "microphone.wav");
  writeFileSync(path, file);
  return path;
}

before(async () => {
  ({ child: server, url } = await serve());
  const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    `--use-file-for-fake-audio-capture=${microphone("tr")}`];
  browser = await chromium.launchPersistentContext(join(folder, "profile"), {
    executablePath: process.env.CHROMIUM, args: flags, permissions: ["microphone"], viewport: { width: 1100, height: 900 }, locale: "en-GB",
  });
  if (shots) mkdirSync(shots, { recursive: true });
});

after(async () => {
  await browser?.close();
  server?.kill();
});

/// A fresh page; nothing it logs may be an error.
async function page(where = url) {
  const page = await browser.newPage();
  page.faults = [];
  page.on("pageerror", e => page.faults.push(String(e)));
  page.on("console", m => m.type() === "error" && page.faults.push(m.text()));
  await page.goto(where);
  return page;
}

async function ready(tab, lang) {
  await tab.locator("#record:enabled").waitFor();
  if (lang) await tab.selectOption("#lang", lang);
}

const shot = (tab, name) => shots && tab.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
const done = tab => tab.locator("#status", { hasText: /^Done$/ }).waitFor({ timeout: 30_000 });

async function heard(lang, file) {
  const answer = await fetch(`${url}/transcribe?lang=${lang}`, { method: "POST", body: readFileSync(join(CLIPS, file)) });
  return answer.json();
}

test("a file is read, shown over its waveform, played and downloaded", async () => {
  const tab = await page();
  await ready(tab, "ru");
  await shot(tab, "start");
  await tab.setInputFiles("#file", join(CLIPS, "tr.wav"));
  await done(tab);
  await tab.selectOption("#lang", "tr");
  await tab.setInputFiles("#file", join(CLIPS, "tr.wav"));
  await done(tab);
  const expected = await heard("tr", "tr.wav");
  assert.equal((await tab.locator("#finals").innerText()).trim(), expected.text);
  assert.equal(await tab.locator("#labels .word").count(), expected.words.length);
  assert.match(await tab.locator("#pack").innerText(), new RegExp(`\\(tr\\), generation 1, ${expected.pack.sha256.slice(0, 12)}`));
  assert.match(await tab.locator("#latency").innerText(), /^\d+ ms$/);
  const inked = await tab.locator("#canvas").evaluate(c => c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some(x => x));
  assert.ok(inked, "the waveform is drawn");
  await shot(tab, "file-light");
  await tab.emulateMedia({ colorScheme: "dark" });
  await shot(tab, "file-dark");
  await tab.setViewportSize({ width: 390, height: 800 });
  await shot(tab, "file-narrow");
  assert.ok(await tab.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out");
  await tab.setViewportSize({ width: 1100, height: 900 });

  for (const [form, starts] of [["srt", "1\n00:00:0"], ["vtt", "WEBVTT\n\n00:00:0"], ["txt", expected.text], ["json", "{"]]) {
    const [file] = await Promise.all([tab.waitForEvent("download"), tab.click(`#downloads [data-form=${form}]`)]);
    assert.equal(file.suggestedFilename(), `tr.${form}`);
    assert.ok(readFileSync(await file.path(), "utf8").startsWith(starts), form);
  }
  // The subtitles are those of the server.
  const srt = await fetch(`${url}/transcribe?lang=tr&format=srt`, { method: "POST", body: readFileSync(join(CLIPS, "tr.wav")) });
  const [file] = await Promise.all([tab.waitForEvent("download"), tab.click("#downloads [data-form=srt]")]);
  assert.equal(readFileSync(await file.path(), "utf8").trim(), (await srt.text()).trim());

  await tab.locator("#finals .word").nth(1).click();
  await tab.locator("#play", { hasText: "Pause" }).waitFor();
  await tab.locator("#labels .word.now").waitFor();
  assert.deepEqual(tab.faults, []);
  await tab.close();
});

test("the microphone is heard live: partials, finals, times, the pack", async () => {
  const tab = await page();
  await ready(tab, "tr");
  const said = [];
  tab.on("websocket", s => s.on("framereceived", f => said.push(JSON.parse(f.payload))));
  await tab.click("#record");
  await tab.locator("#record[aria-pressed=true]").waitFor();
  await tab.waitForFunction(() => document.querySelector("#stable").textContent + document.querySelector("#unstable").textContent);
  await tab.waitForTimeout(1200);
  await shot(tab, "recording");
  await tab.locator("#finals .word").first().waitFor({ timeout: 20_000 });
  await tab.waitForTimeout(600);
  await tab.emulateMedia({ colorScheme: "dark" });
  await shot(tab, "recording-dark");
  await tab.click("#record");
  await done(tab);
  const kinds = said.map(m => m.type);
  assert.deepEqual([kinds[0], kinds.at(-1)], ["ready", "closed"]);
  assert.ok(kinds.includes("partial") && kinds.includes("final"), String(kinds));
  const text = said.filter(m => m.type === "final" && m.text).map(m => m.text).join(" ");
  assert.equal((await tab.locator("#finals").innerText()).trim(), text);
  assert.match(await tab.locator("#latency").innerText(), /^final \d+ ms, partials \d+ ms$/);
  assert.match(await tab.locator("#pack").innerText(), /\(tr\)/);
  assert.ok(await tab.locator("#play").isEnabled(), "what was recorded can be played");
  await shot(tab, "recorded");
  assert.deepEqual(tab.faults, []);
  await tab.close();
});

test("everything works from the keyboard and has a name", async () => {
  const tab = await page();
  await ready(tab, "tr");
  await tab.keyboard.press("Tab");
  assert.equal(await tab.evaluate(() => document.activeElement.className), "skip");
  await tab.setInputFiles("#file", join(CLIPS, "tr.wav"));
  await done(tab);
  await tab.focus("#wave");
  await tab.keyboard.press("ArrowRight");
  await tab.keyboard.press("ArrowRight");
  const second = await tab.locator("#labels .word").nth(1).innerText();
  assert.equal(await tab.evaluate(() => document.activeElement.textContent), second);
  await tab.keyboard.press("Enter");
  await tab.locator("#play", { hasText: "Pause" }).waitFor();
  const nameless = await tab.evaluate(() => [...document.querySelectorAll("button, input, select, a")]
    .filter(e => !e.hidden && !e.closest("[hidden]") && !(e.textContent.trim() || e.labels?.length || e.getAttribute("aria-label"))).map(e => e.outerHTML));
  assert.deepEqual(nameless, []);
  await tab.close();
});

test("what goes wrong is told in a line, and the page goes on", async () => {
  const tab = await page();
  await ready(tab, "tr");
  const text = join(folder, "letter.wav");
  writeFileSync(text, "Dear server, this is a letter and no audio at all.");
  await tab.setInputFiles("#file", text);
  await tab.locator("#error", { hasText: "looks like text" }).waitFor();
  assert.equal(await tab.locator("#error").getAttribute("role"), "alert");
  await shot(tab, "error");
  await tab.emulateMedia({ colorScheme: "dark" });
  await shot(tab, "error-dark");
  await tab.setInputFiles("#file", join(CLIPS, "tr.wav"));
  await done(tab);
  assert.ok(await tab.locator("#error").isHidden());
  await tab.close();
});

test("a server with keys asks for one, and it opens the socket too", async () => {
  const guarded = await serve("--api-keys", "secret");
  try {
    const tab = await page(guarded.url);
    await tab.locator("#key").waitFor();
    await shot(tab, "key");
    await tab.fill("#key", "secret");
    await tab.keyboard.press("Enter");
    await ready(tab, "tr");
    await tab.click("#record");
    await tab.locator("#pack", { hasText: "(tr)" }).waitFor();
    await tab.click("#record");
    await done(tab);
    await tab.close();
  } finally {
    guarded.child.kill();
  }
});
