"""What to do when something went wrong: a page a kind of trouble, chosen by the evidence."""
