"""The rules of the guardrails: pure functions of the session, the request and the facts. Their order is `guardrails`'."""
