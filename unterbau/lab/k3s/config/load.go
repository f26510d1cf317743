package config

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// switches, words, lists and numbers are the keys that are known, each a flag and a key of the file.
var switches = map[string]func(*Config) *bool{
	"cluster-init": func(c *Config) *bool { return &c.ClusterInit }, "cluster-reset": func(c *Config) *bool { return &c.ClusterReset },
	"secrets-encryption":       func(c *Config) *bool { return &c.SecretsEncryption },
	"disable-agent":            func(c *Config) *bool { return &c.DisableAgent },
	"disable-cloud-controller": func(c *Config) *bool { return &c.DisableCloudController },
	"disable-helm-controller":  func(c *Config) *bool { return &c.DisableHelmController },
	"disable-network-policy":   func(c *Config) *bool { return &c.DisableNetworkPolicy },
	"protect-kernel-defaults":  func(c *Config) *bool { return &c.ProtectKernelDefaults },
	"etcd-expose-metrics":      func(c *Config) *bool { return &c.EtcdExposeMetrics },
	"etcd-disable-snapshots":   func(c *Config) *bool { return &c.SnapshotsOff },
	"etcd-snapshot-compress":   func(c *Config) *bool { return &c.SnapshotCompress },
	"etcd-s3":                  func(c *Config) *bool { return &c.S3.Enabled },
	"etcd-s3-insecure":         func(c *Config) *bool { return &c.S3.Insecure },
	"etcd-s3-skip-ssl-verify":  func(c *Config) *bool { return &c.S3.SkipVerify },
	"supervisor-metrics":       func(c *Config) *bool { return &c.SupervisorMetrics },
}

var words = map[string]func(*Config) *string{
	"server": func(c *Config) *string { return &c.Server }, "token": func(c *Config) *string { return &c.Token },
	"agent-token": func(c *Config) *string { return &c.AgentToken }, "node-name": func(c *Config) *string { return &c.NodeName },
	"node-ip": func(c *Config) *string { return &c.NodeIP }, "advertise-address": func(c *Config) *string { return &c.AdvertiseAddress },
	"write-kubeconfig":            func(c *Config) *string { return &c.WriteKubeconfig },
	"data-dir":                    func(c *Config) *string { return &c.DataDir },
	"cluster-reset-restore-path":  func(c *Config) *string { return &c.ClusterResetRestorePath },
	"cluster-cidr":                func(c *Config) *string { return &c.ClusterCIDR },
	"service-cidr":                func(c *Config) *string { return &c.ServiceCIDR },
	"cluster-dns":                 func(c *Config) *string { return &c.ClusterDNS },
	"cluster-domain":              func(c *Config) *string { return &c.ClusterDomain },
	"flannel-backend":             func(c *Config) *string { return &c.FlannelBackend },
	"egress-selector-mode":        func(c *Config) *string { return &c.EgressSelectorMode },
	"secrets-encryption-provider": func(c *Config) *string { return &c.SecretsEncryptionProvider },
	"write-kubeconfig-mode":       func(c *Config) *string { return &c.WriteKubeconfigMode },
	"container-runtime-endpoint":  func(c *Config) *string { return &c.ContainerRuntimeEndpoint },
	"etcd-snapshot-name":          func(c *Config) *string { return &c.SnapshotName },
	"etcd-snapshot-schedule-cron": func(c *Config) *string { return &c.SnapshotCron },
	"etcd-snapshot-dir":           func(c *Config) *string { return &c.SnapshotDir },
	"etcd-s3-config-secret":       func(c *Config) *string { return &c.S3.ConfigSecret },
	"etcd-s3-endpoint":            func(c *Config) *string { return &c.S3.Endpoint },
	"etcd-s3-endpoint-ca":         func(c *Config) *string { return &c.S3.EndpointCA },
	"etcd-s3-access-key":          func(c *Config) *string { return &c.S3.AccessKey },
	"etcd-s3-secret-key":          func(c *Config) *string { return &c.S3.SecretKey },
	"etcd-s3-bucket":              func(c *Config) *string { return &c.S3.Bucket },
	"etcd-s3-region":              func(c *Config) *string { return &c.S3.Region },
	"etcd-s3-folder":              func(c *Config) *string { return &c.S3.Folder },
	"datastore-endpoint":          func(c *Config) *string { return &c.Datastore.Endpoint },
	"datastore-cafile":            func(c *Config) *string { return &c.Datastore.CAFile },
	"datastore-certfile":          func(c *Config) *string { return &c.Datastore.CertFile },
	"datastore-keyfile":           func(c *Config) *string { return &c.Datastore.KeyFile },
}

var lists = map[string]func(*Config) *[]string{
	"tls-san": func(c *Config) *[]string { return &c.TLSSANs }, "disable": func(c *Config) *[]string { return &c.Disable },
	"node-label": func(c *Config) *[]string { return &c.NodeLabels }, "node-taint": func(c *Config) *[]string { return &c.NodeTaints },
	"kube-apiserver-arg":          func(c *Config) *[]string { return &c.APIServerArgs },
	"kube-controller-manager-arg": func(c *Config) *[]string { return &c.ControllerArgs },
	"kube-scheduler-arg":          func(c *Config) *[]string { return &c.SchedulerArgs },
	"kubelet-arg":                 func(c *Config) *[]string { return &c.KubeletArgs },
	"kube-proxy-arg":              func(c *Config) *[]string { return &c.KubeProxyArgs },
	"etcd-arg":                    func(c *Config) *[]string { return &c.EtcdArgs },
}

var numbers = map[string]func(*Config) *int{
	"etcd-snapshot-retention": func(c *Config) *int { return &c.SnapshotRetention },
	"etcd-s3-retention":       func(c *Config) *int { return &c.S3.Retention },
}

func defaults(role string) *Config {
	return &Config{
		Role: role, DataDir: DataDir,
		ClusterCIDR: "10.42.0.0/16", ServiceCIDR: "10.43.0.0/16", ClusterDNS: "10.43.0.10", ClusterDomain: "cluster.local",
		FlannelBackend: "vxlan", EgressSelectorMode: "agent", SecretsEncryptionProvider: "aescbc",
		WriteKubeconfig: Kubeconfig, WriteKubeconfigMode: "0600", SnapshotName: "etcd-snapshot", SnapshotCron: "0 */12 * * *", SnapshotRetention: 5,
		S3:  S3{Endpoint: "", Retention: 5},
		Raw: map[string][]string{},
	}
}

// Load is the configuration of `k3s <role>` with these arguments: the file first, then what the arguments say.
func Load(role string, arguments []string) (*Config, error) {
	set, _, err := Flags(arguments)
	if err != nil {
		return nil, err
	}
	file := File
	if named := set["config"]; len(named) > 0 {
		file = named[len(named)-1]
		delete(set, "config")
	}
	c := defaults(role)
	if err := c.readFiles(file); err != nil {
		return nil, err
	}
	if err := c.take(set, "the command line", true); err != nil {
		return nil, err
	}
	return c, c.finish()
}

// Flags are the flags of a command line by their names, and the words that are no flags.
func Flags(arguments []string) (map[string][]string, []string, error) {
	set, rest := map[string][]string{}, []string{}
	for i := 0; i < len(arguments); i++ {
		word := arguments[i]
		if !strings.HasPrefix(word, "-") || word == "-" {
			rest = append(rest, word)
			continue
		}
		name, value, given := strings.Cut(strings.TrimLeft(word, "-"), "=")
		name = long(name)
		if !given && switches[name] == nil && !plain[name] {
			if i++; i >= len(arguments) {
				return nil, nil, fmt.Errorf("flag needs an argument: -%s", name)
			}
			value = arguments[i]
		} else if !given {
			value = "true"
		}
		set[name] = append(set[name], value)
	}
	return set, rest, nil
}

// plain are switches of the other commands.
var plain = map[string]bool{"force": true, "f": true, "skip": true, "help": true, "debug": true, "version": true}

func long(name string) string {
	names := map[string]string{"t": "token", "s": "server", "d": "data-dir", "c": "config", "o": "output", "v": "version"}
	if name == "with-node-id" || names[name] == "" {
		return name
	}
	return names[name]
}

// readFiles takes the file and those in the folder beside it, in their order.
func (c *Config) readFiles(file string) error {
	found, _ := filepath.Glob(file + ".d/*.yaml")
	sort.Strings(found)
	for _, path := range append([]string{file}, found...) {
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) && path == file {
			continue
		}
		if err != nil {
			return err
		}
		if err := c.takeYAML(path, text); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) takeYAML(path string, text []byte) error {
	said := map[string]any{}
	if err := yaml.Unmarshal(text, &said); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	set := map[string][]string{}
	for key, value := range said {
		set[strings.TrimSuffix(key, "+")] = texts(value)
	}
	return c.take(set, path, false)
}

func texts(value any) []string {
	if many, is := value.([]any); is {
		all := []string{}
		for _, one := range many {
			all = append(all, texts(one)...)
		}
		return all
	}
	if number, is := value.(float64); is {
		return []string{strconv.FormatFloat(number, 'f', -1, 64)}
	}
	return []string{fmt.Sprint(value)}
}

func (c *Config) take(set map[string][]string, from string, strict bool) error {
	for key, values := range set {
		if len(values) == 0 {
			continue
		}
		last := values[len(values)-1]
		var err error
		switch {
		case switches[key] != nil:
			*switches[key](c), err = strconv.ParseBool(last)
		case words[key] != nil:
			*words[key](c) = last
		case numbers[key] != nil:
			*numbers[key](c), err = strconv.Atoi(last)
		case lists[key] != nil:
			*lists[key](c) = append(*lists[key](c), split(key, values)...)
		case strict && !plain[key]:
			err = fmt.Errorf("flag provided but not defined: -%s", key)
		default:
			Log("unknown key %s in %s is left out", key, from)
		}
		if err != nil {
			return fmt.Errorf("%s: %s: %w", from, key, err)
		}
		c.Raw[key] = values
	}
	return nil
}

// split takes commas apart where K3s does: not in arguments of components, whose values have commas of their own.
func split(key string, values []string) []string {
	if strings.HasSuffix(key, "-arg") {
		return values
	}
	all := []string{}
	for _, value := range values {
		all = append(all, strings.Split(value, ",")...)
	}
	return all
}
