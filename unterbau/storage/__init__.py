"""What is done with object storage beside plan and apply: how it does, healing."""
