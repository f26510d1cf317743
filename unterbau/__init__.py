"""The substructure of a self-hosted platform: everything that is not pyinfra vocabulary."""
