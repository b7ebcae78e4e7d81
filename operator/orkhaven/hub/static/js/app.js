// What every page does: theme, namespace picker, copied links, times that go on, live updates.
import "./theme.js";
import "./live.js";

document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-autosubmit]");
  if (form) form.requestSubmit();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) {
    const what = button.dataset.copy === "link" ? location.href : document.querySelector(button.dataset.copy).textContent;
    const label = button.textContent;
    try {
      await navigator.clipboard.writeText(what);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Your browser refused";
    }
    setTimeout(() => (button.textContent = label), 1500);
  }
  // A menu closes when something else is clicked.
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// Where a change is not to be made by a slip: data-confirm says what will happen, and with what.
function given(form) {
  const fields = [...form.querySelectorAll(".field input")].filter((one) => (one.type === "checkbox" ? one.checked : one.value.trim()));
  const words = fields.map((one) => `${one.labels[0].textContent.trim()} ${one.type === "checkbox" ? "" : one.value.trim()}`.trim());
  return words.length ? `Changed: ${words.join(", ")}.` : "Nothing is changed.";
}
document.addEventListener("submit", (event) => {
  const form = event.target;
  const question = form.dataset.confirm && ("draft" in form.dataset ? `${form.dataset.confirm}\n\n${given(form)}` : form.dataset.confirm);
  if (question && !confirm(question)) event.preventDefault();
});

const UNITS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
function span(seconds) {
  let left = Math.max(0, Math.floor(seconds));
  const first = UNITS.findIndex(([, size]) => left >= size);
  if (first < 0) return "0s";
  return UNITS.slice(first, first + 2)
    .map(([unit, size]) => {
      const amount = Math.floor(left / size);
      left -= amount * size;
      return amount ? `${amount}${unit}` : "";
    })
    .join("");
}
export function tick() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const text = span((now - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
    if (!time.title) time.title = new Date(time.dateTime).toLocaleString();
  }
}
setInterval(tick, 1000);
tick();
document.addEventListener("htmx:afterSwap", tick);
