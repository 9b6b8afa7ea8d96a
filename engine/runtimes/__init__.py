"""Inference runtimes: one module each, behind one interface (`session`) and one adapter (`runner`)."""
