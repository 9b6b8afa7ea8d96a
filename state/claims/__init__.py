"""Which numbers of a text a session supports: each is measured, stale, host-only or invented. Pure."""
