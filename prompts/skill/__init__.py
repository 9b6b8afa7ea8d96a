"""What SKILL.md loads where it is needed (Markdown)."""
