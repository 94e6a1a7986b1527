"""The demo: the music application's schema and a small catalogue of real albums."""
