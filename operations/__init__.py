"""State -> commands: one file a tool."""
