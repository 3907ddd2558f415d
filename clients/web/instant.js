// Fields in which an instant is typed with few keys.

import { button, el } from "./dom.js";
import { stamp } from "./format.js";
import { t, tag } from "./language.js";
import { field } from "./parts.js";

// The year stands first: of two figures nobody knows which is the day. A time needs no date.
const FORM = /^(?:(\d{4})[-./年](\d{1,2})[-./月](\d{1,2})日?|(\d{4})(\d\d)(\d\d))?[T,，\s]*(?:(\d{1,2})[:：]?(\d\d)(?:[:：](\d\d))?)?$/;

/** The instant that `text` means by this machine's clock, in UTC; "" of nothing, null of what is no time. */
export function instantIn(text, ahead = false) {
  const typed = text.trim();
  if (typed === "") return "";
  const found = FORM.exec(typed);
  if (!found) return null;
  const now = new Date();
  const [year, month, day] = found[1] ? found.slice(1, 4) : found.slice(4, 7);
  const [hour, minute, second] = found.slice(7).map((part) => Number(part ?? 0));
  const date = year ? [Number(year), month - 1, Number(day)] : [now.getFullYear(), now.getMonth(), now.getDate()];
  const at = new Date(...date, hour, minute, second);
  // What a calendar or a clock does not have, such as 31 June or 25:00, would become another time.
  const parts = [at.getFullYear(), at.getMonth(), at.getDate(), at.getHours(), at.getMinutes(), at.getSeconds()];
  if ([...date, hour, minute, second].some((part, which) => part !== parts[which])) return null;
  // A time alone is the last one that was, or the next one that comes.
  if (!year && at > now !== ahead) at.setDate(at.getDate() + (ahead ? 1 : -1));
  return at.toISOString();
}

/** A field for an instant. `set` is called with what is typed as it is typed, `done` when it stands. */
export function instantField(label, value, set, done = () => {}, ahead = false) {
  const told = el("output", {});
  const tell = (instant) => {
    told.textContent = instant === null ? t("when.none") : zoned(instant);
    input.setAttribute("aria-invalid", String(instant === null));
    input.setCustomValidity(instant === null ? t("when.none.words") : "");
    if (instant !== null) set(instant);
  };
  const settle = () => {
    const instant = instantIn(input.value, ahead);
    tell(instant);
    if (instant === null) return;
    input.value = written(instant);
    done();
  };
  const input = el("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: t("when.form"), value: written(value), oninput: () => tell(instantIn(input.value, ahead)), onchange: settle });
  // A form that is sent shows what is wrong in it.
  input.addEventListener("invalid", () => input.closest("details")?.setAttribute("open", ""));
  const calendar = el("input", { type: "datetime-local", class: "calendar", tabindex: -1, "aria-hidden": "true", onchange: () => ((input.value = calendar.value), settle()) });
  const open = button(t("when.calendar"), "calendar", () => ((calendar.value = written(instantIn(input.value, ahead) ?? "")), calendar.showPicker()), { bare: true });
  const made = field(label, input);
  made.querySelector("label").append(told);
  const box = el("div", { class: "instant" }, calendar, open);
  input.before(box);
  box.prepend(input);
  tell(value);
  return made;
}

const written = (instant) => (instant ? stamp(instant).replace(/:00$/, "") : "");

/** The day of the week of an instant and the zone that it is read in: what a wrong figure shows by. */
function zoned(instant) {
  const form = { timeZoneName: "shortOffset", ...(instant ? { weekday: "short" } : { hour: "numeric" }) };
  const parts = new Intl.DateTimeFormat(tag(), form).formatToParts(instant ? new Date(instant) : new Date());
  const of = (type) => parts.find((part) => part.type === type)?.value;
  return [instant && of("weekday"), of("timeZoneName").replace("GMT", "UTC")].filter(Boolean).join(" ");
}
