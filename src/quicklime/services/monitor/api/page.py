"""The page itself: the files that `make dashboard` built, served from memory under ``/dashboard/``.

No script but our own files, none inline; nothing is loaded from elsewhere; nobody may frame it. Files under ``assets/`` bear
a hash of their content in their name and never change; the document is asked for anew each time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from mimetypes import guess_type
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from quicklime.errors import Code, Refused

BUILT = Path(__file__).resolve().parent.parent / "page"
PREFIX = "/dashboard"
DOCUMENT = "index.html"
ASSETS = "assets/"

# What React sets on an element goes through the DOM and needs no exception; style in markup is refused.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    packed: bytes | None
    media_type: str
    tag: str
    cache: str


def routes(built: Path | None = None) -> list[Route]:
    """The routes of the page; where none was built, they say so."""
    folder = built or BUILT
    files = _read(folder)

    async def to_page(request: Request) -> Response:
        del request
        return RedirectResponse(f"{PREFIX}/", 302)

    async def show_page(request: Request) -> Response:
        if not files:
            # `make up` builds the page while the authority already runs
            files.update(await asyncio.to_thread(_read, folder))
        if DOCUMENT not in files:
            raise Refused(
                Code.NOT_FOUND,
                "this installation has no dashboard yet: `make dashboard` builds it, or says why it can't",
            )
        path = request.path_params.get("path", "")
        found = files.get(path)
        if found is None:
            if path.startswith(ASSETS):
                raise Refused(Code.NOT_FOUND, f"nothing at {request.scope['path'][:200]!r}")
            # every other address is the page's own: what it shows there, it decides itself
            found = files[DOCUMENT]
        return _answer(request, found)

    return [
        Route("/", to_page, methods=["GET"]),
        Route(PREFIX, to_page, methods=["GET"]),
        Route(f"{PREFIX}/{{path:path}}", show_page, methods=["GET"]),
    ]


def is_built(built: Path = BUILT) -> bool:
    """Whether there is a page to serve."""
    return (built / DOCUMENT).is_file()


def _read(built: Path) -> dict[str, _File]:
    if not is_built(built):
        return {}
    found = {}
    for path in sorted(built.rglob("*")):
        if not path.is_file() or path.suffix == ".gz" or path.name.startswith("."):
            continue
        name = path.relative_to(built).as_posix()
        packed = path.with_name(path.name + ".gz")
        content = path.read_bytes()
        media_type = guess_type(name)[0] or "application/octet-stream"
        if media_type.startswith("text/") or media_type.endswith("javascript"):
            media_type += "; charset=utf-8"
        found[name] = _File(
            content,
            packed.read_bytes() if packed.is_file() else None,
            media_type,
            f'"{sha256(content).hexdigest()[:32]}"',
            "public, max-age=31536000, immutable" if name.startswith(ASSETS) else "no-cache",
        )
    return found


def _answer(request: Request, file: _File) -> Response:
    headers = _HEADERS | {"etag": file.tag, "cache-control": file.cache, "vary": "accept-encoding"}
    # a proxy may have made the tag a weak one
    if file.tag in request.headers.get("if-none-match", "").replace("W/", ""):
        return Response(status_code=304, headers=headers)
    content = file.content
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"], content = "gzip", file.packed
    return Response(content, headers=headers | {"content-type": file.media_type})
