"""NIM container: its settings, start, known failures and end."""
