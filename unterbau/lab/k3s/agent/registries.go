package agent

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

const registriesFile = "/etc/rancher/k3s/registries.yaml"

// registries is the part of K3s' registries.yaml that says where images come from. Source: K3s documentation, "Private
// Registry Configuration".
type registries struct {
	Mirrors map[string]struct {
		Endpoint []string `json:"endpoint"`
	} `json:"mirrors"`
	Configs map[string]struct {
		TLS struct {
			CAFile string `json:"ca_file"`
		} `json:"tls"`
	} `json:"configs"`
}

// mirrors writes, for every registry named there, a folder as containerd reads them; none of what was there before stays.
func mirrors(file, folder string) error {
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	said := registries{}
	if err := yaml.Unmarshal(text, &said); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	for name, mirror := range said.Mirrors {
		lines := []string{}
		for _, endpoint := range mirror.Endpoint {
			lines = append(lines, fmt.Sprintf("[host.%q]", endpoint), `  capabilities = ["pull", "resolve"]`)
			if parsed, err := url.Parse(endpoint); err == nil && said.Configs[parsed.Host].TLS.CAFile != "" {
				lines = append(lines, fmt.Sprintf("  ca = %q", said.Configs[parsed.Host].TLS.CAFile))
			}
		}
		if name == "*" {
			name = "_default"
		}
		hosts := filepath.Join(folder, filepath.Base(name), "hosts.toml")
		if err := write(hosts, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			return err
		}
	}
	return os.MkdirAll(folder, 0o700)
}
