"""Data question answering: questions about series of numbers, which threads answer with Python (THREAD, section 4)."""
