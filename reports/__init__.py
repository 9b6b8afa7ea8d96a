"""What people read of a session: the Markdown of the seeds' templates and the HTML page; pure functions of a session."""
