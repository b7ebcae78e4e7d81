// Light or dark: as the system says until somebody switches; then a cookie, so that the server renders it right at once.
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");

export const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

function changed() {
  document.dispatchEvent(new CustomEvent("ork:theme"));
}

document.getElementById("theme")?.addEventListener("click", () => {
  const wanted = isDark() ? "light" : "dark";
  // Back to what the system says is no choice any more: it follows the system again.
  if ((wanted === "dark") === dark.matches) {
    delete root.dataset.theme;
    document.cookie = "orkhaven_theme=; path=/; max-age=0; samesite=lax";
  } else {
    root.dataset.theme = wanted;
    document.cookie = `orkhaven_theme=${wanted}; path=/; max-age=31536000; samesite=lax`;
  }
  changed();
});
dark.addEventListener("change", changed);
