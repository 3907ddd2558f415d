// Live hits: one stream of events for the whole page, which goes on where it broke off.

import { get } from "./api.js";
import { kept, keep } from "./kept.js";

const MOST_KEPT = 200;
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;
let source = null;
let waiting = 0;
let wait_ms = FIRST_WAIT_MS;
let last = null;

// Hits that came while the page was open, newest first.
const hits = [];
/** Event ids of hits that nobody has looked at. */
export const unseen = new Set();

/** Whether the stream is open. */
export function connected() {
  return source?.readyState === EventSource.OPEN;
}

/** Opens the stream. */
export function follow() {
  if (source) return;
  const opened = new EventSource(last === null ? "/events" : `/events?after=${last}`);
  source = opened;
  opened.addEventListener("hit", (event) => take(JSON.parse(event.data)));
  opened.addEventListener("open", () => {
    wait_ms = FIRST_WAIT_MS;
    window.dispatchEvent(new Event("peca-stream"));
  });
  opened.addEventListener("error", () => {
    window.dispatchEvent(new Event("peca-stream"));
    // What was answered by anything but a stream, the browser does not ask for again.
    if (opened.readyState === EventSource.CLOSED) reopen(opened);
  });
}

async function reopen(closed) {
  if (!(await signedIn()) || source !== closed) return;
  waiting = setTimeout(() => {
    source = null;
    follow();
  }, wait_ms);
  wait_ms = Math.min(2 * wait_ms, LONGEST_WAIT_MS);
}

/** Whether the session goes on, which this asks for as a use; the page is told where it has ended. */
export async function signedIn() {
  try {
    await get("/session");
  } catch (problem) {
    if (problem.status === 401) window.dispatchEvent(new Event("peca-signed-out"));
    return problem.status !== 401;
  }
  return true;
}

/** Closes the stream. */
export function unfollow() {
  clearTimeout(waiting);
  source?.close();
  source = null;
}

function take(hit) {
  last = Math.max(last ?? 0, hit.event_id);
  if (hits.some((one) => one.event_id === hit.event_id)) return;
  hits.unshift(hit);
  hits.length = Math.min(hits.length, MOST_KEPT);
  unseen.add(hit.event_id);
  sound();
  window.dispatchEvent(new CustomEvent("peca-hit", { detail: hit }));
}

/** Whether a hit sounds. */
export function audible() {
  return kept("sound") === "on";
}

/** Sounds, where hits may. */
export function sound() {
  if (audible()) chime();
}

/** Lets hits sound, or not. */
export function setAudible(on) {
  keep("sound", on ? "on" : "off");
  sound();
}

/** Two soft tones, the second higher. */
function chime() {
  const audio = new AudioContext();
  for (const [at, pitch] of [[0, 587], [0.16, 880]]) {
    const tone = new OscillatorNode(audio, { frequency: pitch });
    const volume = new GainNode(audio, { gain: 0 });
    volume.gain.setValueAtTime(0.14, audio.currentTime + at);
    volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + at + 0.5);
    tone.connect(volume).connect(audio.destination);
    tone.start(audio.currentTime + at);
    tone.stop(audio.currentTime + at + 0.5);
  }
  setTimeout(() => audio.close(), 1200);
}
