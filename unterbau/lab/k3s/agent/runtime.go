package agent

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"unterbau.internal/k3s/config"
)

const (
	pauseImage = "unterbau.lab/pause:1"
	lookEvery  = 5 * time.Second
)

// Debian's containerd, which reads what K3s' does. Nothing may have its out-of-memory score lowered in a container without
// CAP_SYS_RESOURCE: restrict_oom_score_adj keeps it from trying.
const containerdConfig = `version = 2
root = %q
state = %q
oom_score = 0

[grpc]
  address = %q

[plugins."io.containerd.internal.v1.opt"]
  path = %q

[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "10010"
  enable_selinux = false
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  restrict_oom_score_adj = true
  sandbox_image = %q

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  disable_snapshot_annotations = true

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = %q
  conf_dir = %q

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = %q
`

func (n *node) startContainerd(ctx context.Context) (*config.Process, error) {
	program, err := exec.LookPath("containerd")
	if err != nil {
		return nil, fmt.Errorf("this stand-in brings no container runtime, and there is none on PATH: %w", err)
	}
	registries := n.path("etc", "containerd", "certs.d")
	if err := mirrors(registriesFile, registries); err != nil {
		return nil, err
	}
	file := n.path("etc", "containerd", "config.toml")
	text := fmt.Sprintf(containerdConfig, n.path("containerd"), stateDir, containerdSocket, n.path("containerd", "opt"),
		pauseImage, pluginDir, n.path("etc", "cni", "net.d"), registries)
	if err := write(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	process, err := config.Program(ctx, "containerd", program, []string{"--config", file}, nil)
	if err != nil {
		return nil, err
	}
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-process.Done: // what never comes need not be waited for
			stop()
		case <-waiting.Done():
		}
	}()
	n.retry(waiting, "reach containerd", func(ctx context.Context) error { return ctr(ctx, "version") })
	images := &images{folder: n.path("images"), known: map[string]string{}}
	images.look(ctx)
	go images.keepLooking(ctx)
	return process, nil
}

// ctr runs containerd's own command line.
func ctr(ctx context.Context, arguments ...string) error {
	command := exec.CommandContext(ctx, "ctr", append([]string{"--address", containerdSocket, "--namespace", "k8s.io"}, arguments...)...)
	said, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr %s: %w: %s", arguments[0], err, strings.TrimSpace(string(said)))
	}
	return nil
}

// images imports what lies in K3s' folder for nodes without a way out, and what is put there later.
type images struct {
	folder string
	known  map[string]string
}

func (i *images) keepLooking(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
			i.look(ctx)
		}
	}
}

func (i *images) look(ctx context.Context) {
	files, _ := filepath.Glob(filepath.Join(i.folder, "*.tar"))
	for _, file := range files {
		about, err := os.Stat(file)
		if err != nil {
			continue // gone meanwhile
		}
		state := fmt.Sprint(about.Size(), about.ModTime())
		if i.known[file] == state {
			continue
		}
		i.known[file] = state
		if err := ctr(ctx, "images", "import", file); err != nil {
			config.Log("cannot import %s: %v", file, err)
			continue
		}
		config.Log("imported images from %s", file)
	}
}
