"""What is done with a Kubernetes cluster beside plan and apply: status, kubeconfig."""
