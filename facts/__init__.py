"""What is: one file a tool, the same names as in operations/."""
