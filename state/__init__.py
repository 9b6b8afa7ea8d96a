"""Floor 1: what is true of a session and what it allows. Pure, no I/O but the store."""
