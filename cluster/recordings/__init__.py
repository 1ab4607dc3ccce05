"""Readers of recordings: `folder.RecordingFolder` reads the files; `show`, `export`, `report` and `rejudge` use it."""
