"""K3s' etcd outside of a run: how it does, its snapshots, and the way back to one."""
