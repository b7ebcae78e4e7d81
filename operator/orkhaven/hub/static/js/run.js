// One run, or a few that are compared: which part of the page is whose.
const PARTS = { log: "./log.js", images: "./images.js" };

for (const root of document.querySelectorAll("[data-widget=curves]")) {
  const widget = await import("./curves.js");
  await widget.start(root).catch((error) => console.error(error));
}

// What stands further down is fetched when somebody gets there.
const seen = new IntersectionObserver(
  async (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      const part = await import(PARTS[entry.target.dataset.part]);
      part.start(entry.target);
    }
  },
  { rootMargin: "300px" },
);
for (const root of document.querySelectorAll("[data-part]")) seen.observe(root);
