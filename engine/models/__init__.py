"""Model files: telling their formats apart, and reading what they hold without running them."""
