"""Small complete programs; a test runs the blocks that are marked as runnable."""
