// One stream of events per page. What changed is fetched anew by the parts that listen: hx-trigger="ork:changed from:body".
const url = document.body.dataset.events;
const sign = document.getElementById("live");
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

function open() {
  if (source) return;
  const again = since !== null;
  source = new EventSource(url);
  source.addEventListener("hello", () => {
    heard = Date.now();
    // Whatever changed while nobody listened is in no event.
    if (since !== null || again) refresh();
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
