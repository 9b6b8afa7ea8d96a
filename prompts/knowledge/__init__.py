"""The knowledge base: a folder a collection, a Markdown page a subject, each with its sources."""
