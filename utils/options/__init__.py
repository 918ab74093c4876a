"""Options of every command: frozen dataclasses that become flags, are checked, and are saved with the run."""
