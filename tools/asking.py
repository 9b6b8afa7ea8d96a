"""Whether and how a person can be asked through the client; what a client may not be asked falls to the terminal."""

from __future__ import annotations

from .road import Ctx, shop_of


def why_not_asked(ctx: Ctx) -> str | None:
    """Why nobody can be asked through this client; None where a person can."""
    decisions = shop_of(ctx).settings.policy.decisions
    if decisions != "chat":
        return f"the policy takes decisions {'on the terminal alone' if decisions == 'terminal' else 'from nobody'}"
    capabilities = ctx.client_capabilities
    asks = capabilities.elicitation if capabilities else None
    if asks is None or (asks.form is None and asks.url is not None):
        return "this client cannot ask one"
    return None


def client_name(ctx: Ctx) -> str:
    """The client by its own word, on one line."""
    params = ctx.session.client_params
    name = f"{params.client_info.name} {params.client_info.version}" if params else "an unnamed client"
    return "".join(c for c in name if c.isprintable())[:80]
