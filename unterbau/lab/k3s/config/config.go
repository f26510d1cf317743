// Package config is what the configuration file and the flags say, in K3s' words, and how this program runs its parts.
package config

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/component-base/version"
)

// Places that K3s uses; none of them is ours.
const (
	File       = "/etc/rancher/k3s/config.yaml"
	Kubeconfig = "/etc/rancher/k3s/k3s.yaml"
	DataDir    = "/var/lib/rancher/k3s"
	APIPort    = 6443
	// InnerPort is where kube-apiserver listens, on loopback only; APIPort is the supervisor's.
	InnerPort = 6444
)

// Config is one node's configuration after defaults, file and flags.
type Config struct {
	Role     string // "server" or "agent"
	InServer bool   // the agent within a server

	Server     string // https://host:6443 of the one to join
	Token      string
	AgentToken string

	NodeName         string
	NodeIP           string
	AdvertiseAddress string
	NodeLabels       []string
	NodeTaints       []string
	TLSSANs          []string
	DataDir          string

	ClusterInit, ClusterReset bool
	ClusterResetRestorePath   string

	ClusterCIDR, ServiceCIDR, ClusterDNS, ClusterDomain string
	FlannelBackend, EgressSelectorMode                  string
	SecretsEncryption                                   bool
	SecretsEncryptionProvider                           string
	Disable                                             []string
	DisableAgent, DisableCloudController                bool
	DisableHelmController, DisableNetworkPolicy         bool
	ProtectKernelDefaults                               bool
	WriteKubeconfig, WriteKubeconfigMode                string
	ContainerRuntimeEndpoint                            string
	SupervisorMetrics                                   bool

	APIServerArgs, ControllerArgs, SchedulerArgs []string
	KubeletArgs, KubeProxyArgs, EtcdArgs         []string

	EtcdExposeMetrics bool
	SnapshotsOff      bool
	SnapshotName      string
	SnapshotCron      string
	SnapshotRetention int
	SnapshotDir       string
	SnapshotCompress  bool
	S3                S3
	Datastore         Datastore
	Raw               map[string][]string // everything that was set, by its key
}

// S3 is where snapshots go besides the local disk.
type S3 struct {
	Enabled      bool   `json:"enabled,omitempty"`
	ConfigSecret string `json:"configSecret,omitempty"`
	Endpoint     string `json:"endpoint,omitempty"`
	EndpointCA   string `json:"endpointCA,omitempty"`
	SkipVerify   bool   `json:"skipSSLVerify,omitempty"`
	AccessKey    string `json:"accessKey,omitempty"`
	SecretKey    string `json:"secretKey,omitempty"`
	Bucket       string `json:"bucket,omitempty"`
	Region       string `json:"region,omitempty"`
	Folder       string `json:"folder,omitempty"`
	Insecure     bool   `json:"insecure,omitempty"`
	Retention    int    `json:"retention,omitempty"`
}

// Datastore is an etcd that others run; embedded etcd if it has no endpoint.
type Datastore struct{ Endpoint, CAFile, CertFile, KeyFile string }

// Version is Kubernetes' own as the linker was told it, so it says of itself that it stands in.
func Version() string { return version.Get().GitVersion }

// ServerDir is the server's part of the data, with more below it.
func (c *Config) ServerDir(more ...string) string {
	return filepath.Join(append([]string{c.DataDir, "server"}, more...)...)
}

// External says whether an etcd that is not ours keeps the data.
func (c *Config) External() bool { return c.Datastore.Endpoint != "" }

// Critical are the values that every server must have alike.
// Source: K3s documentation, "k3s server", critical configuration values.
func (c *Config) Critical() map[string]string {
	return map[string]string{
		"cluster-cidr": c.ClusterCIDR, "service-cidr": c.ServiceCIDR, "cluster-dns": c.ClusterDNS,
		"cluster-domain": c.ClusterDomain, "flannel-backend": c.FlannelBackend,
		"egress-selector-mode": c.EgressSelectorMode,
		"secrets-encryption":   fmt.Sprint(c.SecretsEncryption), "secrets-encryption-provider": c.SecretsEncryptionProvider,
		"disable-helm-controller":  fmt.Sprint(c.DisableHelmController),
		"disable-network-policy":   fmt.Sprint(c.DisableNetworkPolicy),
		"disable-cloud-controller": fmt.Sprint(c.DisableCloudController),
	}
}

// secretKeys are shown by their name only, as K3s shows them.
var secretKeys = []string{"token", "agent-token", "etcd-s3-access-key", "etcd-s3-secret-key", "datastore-endpoint"}

// Arguments are all that was set, as flags, by their names, secrets masked.
func (c *Config) Arguments() []string {
	all := []string{}
	for _, key := range slices.Sorted(maps.Keys(c.Raw)) {
		for _, value := range c.Raw[key] {
			if slices.Contains(secretKeys, key) {
				value = "********"
			}
			all = append(all, "--"+key, value)
		}
	}
	return all
}

func (c *Config) finish() error {
	if c.NodeName == "" {
		name, err := os.Hostname()
		if err != nil {
			return err
		}
		c.NodeName = strings.ToLower(name)
	}
	if c.NodeIP == "" {
		address, err := outwardAddress()
		if err != nil {
			return err
		}
		c.NodeIP = address
	}
	if c.AdvertiseAddress == "" {
		c.AdvertiseAddress = c.NodeIP
	}
	if c.SnapshotDir == "" {
		c.SnapshotDir = c.ServerDir("db", "snapshots")
	}
	return c.check()
}

func (c *Config) check() error {
	if net.ParseIP(c.NodeIP) == nil {
		return fmt.Errorf("node-ip %q is no address", c.NodeIP)
	}
	if c.Role == "agent" && (c.Server == "" || c.Token == "") {
		return fmt.Errorf("--server and --token are required")
	}
	if c.S3.ConfigSecret != "" && c.S3.Endpoint+c.S3.AccessKey+c.S3.SecretKey+c.S3.Bucket != "" {
		return fmt.Errorf("etcd-s3-config-secret works with no other key of etcd-s3")
	}
	backends := []string{"none", "vxlan", "host-gw", "wireguard-native"}
	if !slices.Contains(backends, c.FlannelBackend) {
		return fmt.Errorf("flannel-backend %q is none of %s", c.FlannelBackend, strings.Join(backends, ", "))
	}
	return nil
}

// outwardAddress is the source address of the default route: K3s takes that, too.
func outwardAddress() (string, error) {
	connection, err := net.Dial("udp4", "192.0.2.1:9")
	if err != nil {
		return "", fmt.Errorf("no default route, and no node-ip: %w", err)
	}
	defer connection.Close()
	return connection.LocalAddr().(*net.UDPAddr).IP.String(), nil
}
