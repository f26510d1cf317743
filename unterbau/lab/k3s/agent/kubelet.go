package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"unterbau.internal/k3s/config"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters:
- name: local
  cluster:
    server: %s
    certificate-authority: %s
users:
- name: user
  user:
    client-certificate: %s
    client-key: %s
contexts:
- name: Default
  context:
    cluster: local
    user: user
    namespace: default
current-context: Default
`

// kubeconfigs are the ways of this node's parts to the API.
func (n *node) kubeconfigs() error {
	for file, name := range map[string]string{
		"kubelet.kubeconfig": "client-kubelet", "kubeproxy.kubeconfig": "client-kube-proxy",
		"k3scontroller.kubeconfig": "client-k3s-controller",
	} {
		own := n.certificate(name)
		text := fmt.Sprintf(kubeconfig, n.supervisor.base, n.path("server-ca.crt"), own.crt, own.key)
		if err := write(n.path(file), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) startKubelet(ctx context.Context) (*config.Process, error) {
	settings, err := n.kubeletConfig()
	if err != nil {
		return nil, err
	}
	folder := n.path("etc", "kubelet.conf.d") // K3s' own: files of others there win over this one
	if err := write(filepath.Join(folder, "00-k3s-defaults.conf"), settings, 0o600); err != nil {
		return nil, err
	}
	labels := append([]string{"node.kubernetes.io/instance-type=k3s"}, n.NodeLabels...)
	arguments := []string{
		"--config-dir=" + folder, "--kubeconfig=" + n.path("kubelet.kubeconfig"), "--hostname-override=" + n.NodeName,
		"--node-ip=" + n.NodeIP, "--node-labels=" + strings.Join(labels, ","),
	}
	if len(n.NodeTaints) > 0 {
		arguments = append(arguments, "--register-with-taints="+strings.Join(n.NodeTaints, ","))
	}
	return config.Child(ctx, "kubelet", append(arguments, flags(n.KubeletArgs)...), nil)
}

// flags are `key=value` of the configuration as a component takes them; they stand last, where they win.
func flags(arguments []string) []string {
	all := []string{}
	for _, one := range arguments {
		all = append(all, "--"+strings.TrimLeft(one, "-"))
	}
	return all
}

// kubeletConfig holds K3s' own settings. JSON is YAML as well.
func (n *node) kubeletConfig() ([]byte, error) {
	resolvers, err := n.resolvers()
	if err != nil {
		return nil, err
	}
	serving := n.certificate("serving-kubelet")
	endpoint := n.ContainerRuntimeEndpoint
	if endpoint == "" {
		endpoint = "unix://" + containerdSocket
	}
	return json.MarshalIndent(map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": "0.0.0.0", "port": 10250, "readOnlyPort": 0, "healthzBindAddress": "127.0.0.1", "healthzPort": 10248,
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true},
			"x509": map[string]any{"clientCAFile": n.path("client-ca.crt")},
		},
		"authorization": map[string]any{"mode": "Webhook"},
		"tlsCertFile":   serving.crt, "tlsPrivateKeyFile": serving.key,
		"cgroupDriver": "cgroupfs", "failCgroupV1": false, "failSwapOn": false, "oomScoreAdj": 0,
		"protectKernelDefaults": n.ProtectKernelDefaults,
		"clusterDNS":            strings.Split(n.cluster.ClusterDNS, ","), "clusterDomain": n.cluster.ClusterDomain,
		"resolvConf": resolvers, "containerRuntimeEndpoint": endpoint, "providerID": "k3s://" + n.NodeName,
		"serializeImagePulls": false, "staticPodPath": n.path("pod-manifests"),
		"volumePluginDir": "/var/lib/kubelet/volumeplugins",
		"evictionHard":    map[string]string{"imagefs.available": "5%", "nodefs.available": "5%"},
		"evictionMinimumReclaim": map[string]string{
			"imagefs.available": "10%", "nodefs.available": "10%",
		},
	}, "", "  ")
}

// startProxy leaves the table of connections as it is: its size is the host's, and a lab machine has no say in it.
func (n *node) startProxy(ctx context.Context) (*config.Process, error) {
	if _, err := exec.LookPath("iptables"); err != nil {
		return nil, fmt.Errorf("this stand-in brings no iptables, and there is none on PATH: %w", err)
	}
	arguments := []string{
		"--kubeconfig=" + n.path("kubeproxy.kubeconfig"), "--hostname-override=" + n.NodeName,
		"--cluster-cidr=" + n.cluster.ClusterIPRange, "--proxy-mode=iptables", "--healthz-bind-address=127.0.0.1",
		"--conntrack-max-per-core=0", "--conntrack-min=0", "--conntrack-tcp-timeout-established=0s",
		"--conntrack-tcp-timeout-close-wait=0s",
	}
	return config.Child(ctx, "kube-proxy", append(arguments, flags(n.KubeProxyArgs)...), nil)
}
