// The sweep's page: which plot lives where, and the leaderboard's part of the URL.
import { query, setQuery } from "./charts.js";

const WIDGETS = { curves: "./curves.js", parallel: "./parallel.js", scatter: "./scatter.js", timeline: "./timeline.js" };
// Kept when a link of the leaderboard is followed: the plots' own state, which the server did not know when it made it.
const OF_PLOTS = ["metric", "top", "band", "x", "log", "smooth", "sx", "sy", "ta", "tz", "brush", "run"];

document.body.addEventListener("htmx:configRequest", (event) => {
  const board = event.target.closest?.("#leaderboard");
  if (!board) return;
  // A refresh because something changed is of the page as it is; a link is what it says, with the plots' state.
  const wanted = event.target === board ? new URL(location.href) : new URL(event.detail.path, location.href);
  if (event.target !== board) {
    const now = query();
    for (const key of OF_PLOTS) {
      if (event.target.dataset.drop === key) continue;
      wanted.searchParams.delete(key);
      for (const value of now.getAll(key)) wanted.searchParams.append(key, value);
    }
    for (const [key, value] of Object.entries(event.detail.parameters)) wanted.searchParams.set(key, value);
  }
  event.detail.parameters = {};
  event.detail.path = wanted.pathname + wanted.search;
});

// The filter has changed: the plots show the same runs.
document.body.addEventListener("htmx:pushedIntoHistory", () => document.dispatchEvent(new CustomEvent("ork:filter")));
document.addEventListener("ork:filter", () => document.dispatchEvent(new CustomEvent("ork:selection")));
document.addEventListener("ork:selection", () => {
  const board = document.getElementById("leaderboard");
  if (board.dataset.query !== location.search) htmx.trigger(board, "ork:reload");
});

// A pinned run stays on top, is drawn among the curves, and is compared with the other pinned ones.
function pin(box) {
  const runs = query().getAll("run").filter((name) => name !== box.value);
  if (box.checked) runs.push(box.value);
  setQuery({ run: runs });
  htmx.trigger(document.getElementById("leaderboard"), "ork:reload");
  document.dispatchEvent(new CustomEvent("ork:selection"));
}
document.addEventListener("change", (event) => {
  if (event.target.matches("#leaderboard input[name=run]")) pin(event.target);
});
// Those that were ticked before this was here, as on a slow line.
for (const box of document.querySelectorAll("#leaderboard input[name=run]")) if (box.checked !== box.defaultChecked) pin(box);

// One after the other in order of the page: the first plot is there as early as it can be.
for (const root of document.querySelectorAll("[data-widget]")) {
  const widget = await import(WIDGETS[root.dataset.widget]);
  await widget.start(root).catch((error) => console.error(error));
}
// What takes a server longer is asked for when all else is drawn.
window.htmx.trigger(document.body, "ork:ready");
