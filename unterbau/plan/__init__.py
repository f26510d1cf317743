"""What would change, whether it may, and the run that does exactly that."""
