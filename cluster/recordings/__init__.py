"""Reading what was recorded: `folder.TraceFolder` reads it; `show`, `export`, `report` and `rejudge` are what for."""
