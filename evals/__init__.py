"""Evaluations of agents on a real server: scenarios as data, scripted agents that attack, evidence read from the store."""
