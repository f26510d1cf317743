// Package command is what operators call: they ask the running server, as K3s' commands do.
package command

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"

	"unterbau.internal/k3s/access"
	"unterbau.internal/k3s/config"
)

// input is a command line taken apart; the configuration file counts where K3s reads it, too.
type input struct {
	flags map[string][]string
	words []string
}

// Run is `k3s <name> arguments…`; false if there is no such command.
func Run(name string, arguments []string) (bool, error) {
	commands := map[string]func(input) error{
		"etcd-snapshot": etcdSnapshot, "secrets-encrypt": secretsEncrypt, "token": token,
		"certificate": certificate, "check-config": checkConfig,
	}
	command, known := commands[name]
	if !known {
		return false, nil
	}
	flags, words, err := config.Flags(arguments)
	if err != nil {
		return true, err
	}
	return true, command(input{flags, words})
}

func (i input) flag(name, otherwise string) string {
	if said := i.flags[name]; len(said) > 0 {
		return said[len(said)-1]
	}
	return otherwise
}

func (i input) verb(otherwise string) string {
	if len(i.words) == 0 {
		return otherwise
	}
	return i.words[0]
}

func (i input) dataDir() string { return i.flag("data-dir", config.DataDir) }

// client asks the server on this node, with the token that it keeps here.
func (i input) client() (*access.Client, error) {
	token := i.flag("token", "")
	if token == "" {
		text, err := os.ReadFile(filepath.Join(i.dataDir(), "server", "token"))
		if err != nil {
			return nil, err
		}
		token = strings.TrimSpace(string(text))
	}
	return access.Dial(i.flag("server", fmt.Sprintf("https://127.0.0.1:%d", config.APIPort)), "server", token)
}

type snapshotRequest struct {
	Operation string     `json:"operation"`
	Name      []string   `json:"name,omitempty"`
	Dir       *string    `json:"dir,omitempty"`
	Retention *int       `json:"retention,omitempty"`
	S3        *config.S3 `json:"s3,omitempty"`
}

type record struct {
	Metadata struct {
		Name        string            `json:"name"`
		Annotations map[string]string `json:"annotations,omitempty"`
	} `json:"metadata"`
	Spec struct {
		SnapshotName string `json:"snapshotName"`
		Location     string `json:"location"`
	} `json:"spec"`
	Status struct {
		Size         string `json:"size"`
		CreationTime string `json:"creationTime"`
	} `json:"status"`
}

func etcdSnapshot(i input) error {
	client, err := i.client()
	if err != nil {
		return err
	}
	asked := snapshotRequest{Operation: i.verb("save")}
	if len(i.words) > 1 {
		asked.Name = i.words[1:]
	}
	if name := i.flag("name", i.flag("etcd-snapshot-name", "on-demand")); asked.Operation == "save" || asked.Operation == "prune" {
		asked.Name = []string{name}
	}
	if dir := i.flag("dir", i.flag("etcd-snapshot-dir", "")); dir != "" {
		asked.Dir = &dir
	}
	if kept, err := strconv.Atoi(i.flag("snapshot-retention", i.flag("etcd-snapshot-retention", ""))); err == nil {
		asked.Retention = &kept
	}
	switch asked.Operation {
	case "ls", "l", "list":
		asked.Operation, asked.Name = "list", nil
		return listSnapshots(client, asked, i.flag("output", ""))
	case "delete":
		if len(asked.Name) == 0 {
			return fmt.Errorf("no snapshots given for removal")
		}
	}
	result := struct{ Created, Deleted []string }{}
	if err := client.JSON("POST", "/db/snapshot", asked, &result); err != nil {
		return err
	}
	for _, name := range result.Created {
		fmt.Printf("Snapshot %s saved.\n", name)
	}
	for _, name := range result.Deleted {
		fmt.Printf("Snapshot %s deleted.\n", name)
	}
	return nil
}

func listSnapshots(client *access.Client, asked snapshotRequest, format string) error {
	all := map[string]any{}
	if err := client.JSON("POST", "/db/snapshot", asked, &all); err != nil {
		return err
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if format == "json" {
		fmt.Println(string(text))
		return nil
	}
	if format == "yaml" {
		text, err = yaml.JSONToYAML(text)
		fmt.Print(string(text))
		return err
	}
	found := struct{ Items []record }{}
	if err := json.Unmarshal(text, &found); err != nil {
		return err
	}
	slices.SortFunc(found.Items, func(a, b record) int { return strings.Compare(a.Status.CreationTime, b.Status.CreationTime) })
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	defer table.Flush()
	fmt.Fprint(table, "Name\tLocation\tSize\tCreated\n")
	for _, one := range found.Items {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", one.Spec.SnapshotName, one.Spec.Location, one.Status.Size, one.Status.CreationTime)
	}
	return nil
}

type encryptionStatus struct {
	Stage        string   `json:"stage"`
	ActiveKey    string   `json:"activekey"`
	Enable       *bool    `json:"enable,omitempty"`
	HashMatch    bool     `json:"hashmatch,omitempty"`
	HashError    string   `json:"hasherror,omitempty"`
	InactiveKeys []string `json:"inactivekeys,omitempty"`
}

func secretsEncrypt(i input) error {
	client, err := i.client()
	if err != nil {
		return err
	}
	_, force := i.flags["force"]
	if _, short := i.flags["f"]; short {
		force = true
	}
	_, skip := i.flags["skip"]
	stages := map[string][2]string{
		"prepare":   {"prepare", "prepare completed successfully"},
		"rotate":    {"rotate", "rotate completed successfully"},
		"reencrypt": {"reencrypt_active", "reencryption started"}, "rotate-keys": {"rotate_keys", "keys rotated, reencryption started"},
	}
	verb := i.verb("")
	if verb == "status" {
		return showEncryption(client, i.flag("output", ""))
	}
	asked, done := map[string]any{"force": force, "skip": skip}, ""
	switch stage, known := stages[verb]; {
	case known:
		asked["stage"], done = stage[0], stage[1]
	case verb == "enable" || verb == "disable":
		asked["enable"], done = verb == "enable", "secrets-encryption "+verb+"d"
	default:
		return fmt.Errorf("no such command: secrets-encrypt %s", verb)
	}
	if err := client.JSON("PUT", "/v1-k3s/encrypt/config", asked, nil); err != nil {
		return fmt.Errorf("see server log for details: %w", err)
	}
	fmt.Println(done)
	return nil
}

func showEncryption(client *access.Client, format string) error {
	status := encryptionStatus{}
	if err := client.JSON("GET", "/v1-k3s/encrypt/status", nil, &status); err != nil {
		return fmt.Errorf("see server log for details: %w", err)
	}
	if format == "json" {
		text, err := json.MarshalIndent(status, "", "\t")
		fmt.Println(string(text))
		return err
	}
	if status.Enable == nil {
		fmt.Println("Encryption Status: Disabled, no configuration file found")
		return nil
	}
	said, hashes := "Disabled", status.HashError
	if *status.Enable {
		said = "Enabled"
	}
	if status.HashMatch {
		hashes = "All hashes match"
	}
	fmt.Printf("Encryption Status: %s\nCurrent Rotation Stage: %s\nServer Encryption Hashes: %s\n\n", said, status.Stage, hashes)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	defer table.Flush()
	fmt.Fprint(table, "Active\tKey Type\tName\n------\t--------\t----\n")
	if kind, name, found := strings.Cut(status.ActiveKey, " "); found {
		fmt.Fprintf(table, " *\t%s\t%s\n", kind, name)
	}
	for _, key := range status.InactiveKeys {
		kind, name, _ := strings.Cut(key, " ")
		fmt.Fprintf(table, "\t%s\t%s\n", kind, name)
	}
	return nil
}

func checkConfig(input) error {
	needed := map[string]string{
		"cgroups": "/proc/cgroups", "overlayfs": "/proc/filesystems", "ip forwarding": "/proc/sys/net/ipv4/ip_forward",
		"bridged traffic to netfilter": "/proc/sys/net/bridge/bridge-nf-call-iptables",
	}
	missing := 0
	for name, path := range needed {
		if _, err := os.Stat(path); err != nil {
			fmt.Printf("- %s: missing (%s)\n", name, path)
			missing++
		} else {
			fmt.Printf("- %s: enabled\n", name)
		}
	}
	fmt.Printf("STATUS: %s\n", map[bool]string{true: "pass", false: fmt.Sprint(missing)}[missing == 0])
	return nil
}
