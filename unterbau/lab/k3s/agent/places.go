package agent

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"unterbau.internal/k3s/config"
)

// Places of K3s outside its data folder.
const (
	passwordFile     = "/etc/rancher/node/password"
	stateDir         = "/run/k3s/containerd"
	containerdSocket = stateDir + "/containerd.sock"
	pluginDir        = "/usr/lib/cni"
)

// path is a file of the agent's part of the data.
func (n *node) path(more ...string) string {
	return filepath.Join(append([]string{n.DataDir, "agent"}, more...)...)
}

// certificate is a certificate and its key, named as K3s names them.
type certificate struct{ name, crt, key string }

func (n *node) certificate(name string) certificate {
	return certificate{name, n.path(name + ".crt"), n.path(name + ".key")}
}

// write puts a file in place whole, or not at all.
func write(path string, text []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	part := path + ".part"
	if err := os.WriteFile(part, text, mode); err != nil {
		return err
	}
	if err := os.Chmod(part, mode); err != nil {
		return err
	}
	return os.Rename(part, path)
}

// password is what this node shows when it asks for certificates; made once: another node of its name has another one.
func password() (string, error) {
	text, err := os.ReadFile(passwordFile)
	if err == nil && strings.TrimSpace(string(text)) != "" {
		return strings.TrimSpace(string(text)), nil
	}
	if err != nil && !os.IsNotExist(err) {
		return "", err
	}
	bytes := make([]byte, 16)
	if _, err := rand.Read(bytes); err != nil {
		return "", err
	}
	made := hex.EncodeToString(bytes)
	return made, write(passwordFile, []byte(made+"\n"), 0o600)
}

// forward lets packets pass between pods and nodes, and lets the rules of services see those between two pods of a node.
func forward() {
	for _, name := range []string{"ipv4/conf/all/forwarding", "ipv4/conf/default/forwarding", "bridge/bridge-nf-call-iptables"} {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte("1"), 0); err != nil {
			config.Log("cannot set net/%s: %v", name, err)
		}
	}
}

// resolvers is the pods' resolv.conf where they don't use the cluster's DNS.
func (n *node) resolvers() (string, error) {
	const usual = "/etc/resolv.conf"
	text, err := os.ReadFile(usual)
	if err == nil && strings.Contains(string(text), "nameserver ") && !strings.Contains(string(text), "nameserver 127.") {
		return usual, nil
	}
	own := n.path("etc", "resolv.conf")
	return own, write(own, []byte(fmt.Sprintf("# %s has no name server that a pod could reach.\n", n.NodeName)), 0o644)
}
