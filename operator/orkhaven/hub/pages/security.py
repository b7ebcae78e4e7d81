"""What every page says to the browser about what it may load, and how a change is known to come from our own page."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from orkhaven.hub.errors import HttpError
from orkhaven.hub.session import Sessions, Viewer

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Nothing from elsewhere, nothing inline. A chart is exported as PNG through data: and blob:."""

CSRF_FIELD = "csrf"
CSRF_HEADER = "x-csrf-token"
MAX_FORM_BYTES = 64 * 1024


async def form_of(request: Request) -> dict[str, str]:
    """A small urlencoded form; of a repeated field the last. Raises HttpError 413 or 415."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HttpError(415, "UnsupportedMediaType", "send a form: application/x-www-form-urlencoded")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise HttpError(413, "TooLarge", f"a form of at most {MAX_FORM_BYTES} bytes")
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise HttpError(400, "BadForm", "the form cannot be read") from None


def require_same_site(request: Request) -> None:
    """Refuses what another site's page sends. Raises HttpError 403."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise HttpError(403, "CrossSite", "this was sent by a page of another site, not by the dashboard's own")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HttpError(403, "CrossSite", f"this was sent by a page of {origin}, not by the dashboard's own")


def refuse_embedding(request: Request) -> None:
    """Another site's page must neither show nor fetch what only its reader may see; a link that is followed is no
    embedding. Programs send no such headers. Raises HttpError 403.
    """
    site = request.headers.get("sec-fetch-site")
    if site in (None, "same-origin", "none") or request.headers.get("sec-fetch-dest") == "document":
        return
    raise HttpError(403, "CrossSite", "this was asked for by a page of another site, not by the dashboard's own")


def require_csrf(request: Request, sessions: Sessions, viewer: Viewer, form: dict[str, str]) -> None:
    """Every change carries the page's token, in a field or a header. Raises HttpError 403."""
    require_same_site(request)
    sent = form.get(CSRF_FIELD) or request.headers.get(CSRF_HEADER, "")
    if not sessions.is_csrf_of(viewer, sent):
        raise HttpError(403, "StalePage", "this page is from an earlier login: load it again and repeat")


def safe_next(path: str | None) -> str:
    """Where to go after the login: a path of ours, whatever the URL asked for."""
    if not path or not path.startswith("/") or path.startswith(("//", "/\\", "/login", "/logout")):
        return "/"
    # Browsers drop tabs and line ends inside a URL: "/\t/evil" would become "//evil".
    return path if path.isprintable() and "\\" not in path else "/"
