// One stream of events per page. What changed is fetched anew by the parts that listen: hx-trigger="ork:changed from:body".
const url = document.body.dataset.events;
const sign = document.getElementById("live");
let revision = document.body.dataset.revision; // of the namespace, when the page was begun
const SILENT = 40000; // ms; the server says something every 15 s

let source = null;
let heard = Date.now();
let since = null;

function show(state, text) {
  if (sign.dataset.state !== state) sign.dataset.state = state;
  if (sign.textContent !== text) sign.textContent = text;
}

function stale() {
  since ??= new Date(heard);
  show("stale", `stale since ${since.toLocaleTimeString()}`);
}

function refresh() {
  window.htmx?.trigger(document.body, "ork:changed");
  document.dispatchEvent(new CustomEvent("ork:changed"));
}

// --- a part that somebody is using is not taken out of their hands ---

const isLive = (event) => event.detail.requestConfig?.triggeringEvent?.type === "ork:changed";
let held = false; // a refresh was left out

// What was typed into a form stays until it is sent or taken back, wherever the focus is.
const typed = (input) => (input.type === "checkbox" ? input.checked !== input.defaultChecked : input.value !== input.defaultValue);

function inUse(part) {
  const active = document.activeElement;
  if ([...part.querySelectorAll("form[data-draft] input")].some(typed)) return true;
  return Boolean(part.querySelector("details.menu[open], form[data-draft] details[open]")) || (part.contains(active) && active.matches("input:not([type=checkbox]), select, textarea"));
}

document.body.addEventListener("htmx:beforeRequest", (event) => {
  if (!isLive(event) || !inUse(event.detail.elt)) return;
  event.preventDefault();
  held = true;
});

function released() {
  // After the next element has the focus.
  setTimeout(() => {
    if (!held) return;
    held = false;
    window.htmx?.trigger(document.body, "ork:changed");
  });
}
document.addEventListener("focusout", released);
document.addEventListener("toggle", (event) => event.target.matches?.("details.menu:not([open]), form[data-draft] details:not([open])") && released(), true);

// What is scrolled and what has the focus stays so.
const places = new Map();
const keyOf = (element) => `${element.tagName} ${element.getAttribute("href") ?? element.value ?? ""}`;

document.body.addEventListener("htmx:beforeSwap", (event) => {
  const { target } = event.detail;
  if (!isLive(event) || !target.id) return;
  if (inUse(target)) { // since it was asked for
    event.detail.shouldSwap = false;
    held = true;
    return;
  }
  const scroll = target.querySelector(".scroll");
  const active = target.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  places.set(target.id, { top: scroll?.scrollTop ?? 0, left: scroll?.scrollLeft ?? 0, active });
});
document.body.addEventListener("htmx:afterSwap", (event) => {
  const { id } = event.detail.target;
  const place = places.get(id);
  places.delete(id);
  const fresh = place && document.getElementById(id);
  if (!fresh) return;
  const scroll = fresh.querySelector(".scroll");
  if (scroll) [scroll.scrollTop, scroll.scrollLeft] = [place.top, place.left];
  if (place.active) [...fresh.querySelectorAll("a, button, input, summary")].find((one) => keyOf(one) === place.active)?.focus({ preventScroll: true });
});

function open() {
  if (source) return;
  const again = since !== null;
  source = new EventSource(url);
  source.addEventListener("hello", (event) => {
    heard = Date.now();
    // Whatever changed while nobody listened is in no event; the page itself was made before anybody did.
    if (since !== null || again || event.data !== revision) refresh();
    revision = event.data;
    since = null;
    show("live", "live");
  });
  source.addEventListener("beat", () => {
    heard = Date.now();
  });
  source.addEventListener("stale", () => {
    heard = Date.now();
    stale();
  });
  source.addEventListener("changed", () => {
    heard = Date.now();
    since = null;
    show("live", "live");
    refresh();
  });
  source.addEventListener("bye", () => {
    close();
    stale();
    location.reload(); // the login has ended: the server shows where to go
  });
  source.onerror = stale; // the browser tries again by itself
}

function close() {
  source?.close();
  source = null;
}

if (url && sign) {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
      since = new Date();
      show("paused", "paused");
    } else {
      open();
    }
  });
  setInterval(() => {
    if (source && Date.now() - heard > SILENT) {
      close();
      stale();
      open();
    }
  }, 5000);
  addEventListener("pagehide", close);
  // What is being changed or deleted is looked at again on the page that the answer leads to. On the window: a question
  // that was answered with no has been heard before.
  addEventListener("submit", (event) => !event.defaultPrevented && event.target.method === "post" && close());
  addEventListener("pageshow", (event) => event.persisted && open());
  if (document.hidden) show("paused", "paused");
  else open();
}
