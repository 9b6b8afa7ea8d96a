"""Serving over stdio and over Streamable HTTP."""

from __future__ import annotations

import hashlib
import hmac
import os
import signal
from pathlib import Path
from types import FrameType

from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .. import __version__
from ..tools.workshop import Settings
from .app import build
from .settings import BadSettings

# An idle connection stays open for longer than clients keep theirs: with uvicorn's own 5 s a client that was busy meanwhile
# sends its next call into a closed one ("other side closed").
KEEP_ALIVE_S = 75


def _leave(_signal: int, _frame: FrameType | None) -> None:
    # Every acknowledged event is on disk and jobs outlive the server: there is nothing to tidy up.
    os._exit(0)


def serve_stdio(settings: Settings) -> None:
    """Serves one client on standard input and output, until it closes them."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    build(settings).run("stdio")


class OneToken:
    """Lets in whoever holds the operator's token."""

    def __init__(self, token: str):
        self._token = token.encode()
        self._name = hashlib.sha256(self._token).hexdigest()[:12]

    async def verify_token(self, token: str) -> AccessToken | None:
        if not hmac.compare_digest(token.encode(), self._token):
            return None
        return AccessToken(token=token, client_id=self._name, scopes=[], subject=self._name)


def read_token(path: Path) -> str:
    """The bearer token in a file of one line.

    Raises:
        BadSettings: the file cannot be read, or holds no token worth the name.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"--token-file: {error}") from error
    if len(token) < 16 or not token.isprintable():
        raise BadSettings("--token-file: the token needs 16 printable characters or more.")
    return token


def serve_http(settings: Settings, port: int, token_file: Path | None) -> None:
    """Serves any number of clients on 127.0.0.1 at /mcp; /healthz for probes. With a token file, only its holder."""
    import uvicorn

    address = f"http://127.0.0.1:{port}"
    if token_file:
        auth = AuthSettings(
            issuer_url=AnyHttpUrl(address),
            resource_server_url=AnyHttpUrl(f"{address}/mcp"),
            required_scopes=[],
            validate_token_resource=False,  # one token for one server: it names no resource
        )
        server = build(settings, auth=auth, token_verifier=OneToken(read_token(token_file)))
    else:
        server = build(settings)

    @server.custom_route("/healthz", methods=["GET"])
    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__})

    names = ["127.0.0.1:*", "localhost:*"]
    security = TransportSecuritySettings(allowed_hosts=names, allowed_origins=[f"http://{n}" for n in names])
    app = server.streamable_http_app(host="127.0.0.1", transport_security=security)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_keep_alive=KEEP_ALIVE_S)
