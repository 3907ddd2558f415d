// Live hits: one stream of events for the whole page; the browser resumes it where it broke off.

import { kept, keep } from "./kept.js";

const MOST_KEPT = 200;
let source = null;

/** Hits that came while the page was open, newest first. */
export const hits = [];
/** Event ids of hits that nobody has looked at. */
export const unseen = new Set();

/** Whether the stream is open. */
export function connected() {
  return source?.readyState === EventSource.OPEN;
}

/** Opens the stream. */
export function follow() {
  if (source) return;
  source = new EventSource("/events");
  source.addEventListener("hit", (event) => take(JSON.parse(event.data)));
  source.addEventListener("open", () => window.dispatchEvent(new Event("peca-stream")));
  source.addEventListener("error", () => window.dispatchEvent(new Event("peca-stream")));
}

/** Closes the stream. */
export function unfollow() {
  source?.close();
  source = null;
}

function take(hit) {
  if (hits.some((one) => one.event_id === hit.event_id)) return;
  hits.unshift(hit);
  hits.length = Math.min(hits.length, MOST_KEPT);
  unseen.add(hit.event_id);
  if (audible()) chime();
  window.dispatchEvent(new CustomEvent("peca-hit", { detail: hit }));
}

/** Whether a hit sounds. */
export function audible() {
  return kept("sound") === "on";
}

/** Lets hits sound, or not. */
export function setAudible(on) {
  keep("sound", on ? "on" : "off");
  if (on) chime();
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
