"""The `fusion` command: `main.app`, and a module for each group of commands."""
