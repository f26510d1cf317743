"""What is done with a Vault cluster beside plan and apply: status, snapshots."""
