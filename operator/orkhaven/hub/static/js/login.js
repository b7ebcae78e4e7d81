// The cookie is SameSite=Strict: whoever follows a link from a chat arrives without it. A request of our own page has it.
import "./theme.js";

const login = document.getElementById("login");
const answer = await fetch("/session", { cache: "no-store", redirect: "error" }).catch(() => null);
if (answer?.status === 204) location.replace(login.dataset.next);
