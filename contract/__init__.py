"""Floor 0: the words. Frozen value types and policy data that every floor speaks; imports nothing of ours."""
