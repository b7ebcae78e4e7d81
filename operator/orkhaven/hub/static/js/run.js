// Pages with curves only: one run, or a few that are compared.
for (const root of document.querySelectorAll("[data-widget=curves]")) {
  const widget = await import("./curves.js");
  await widget.start(root).catch((error) => console.error(error));
}
