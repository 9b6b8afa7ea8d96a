"""What agents and people read: prompts, playbooks, the knowledge base (Markdown)."""
