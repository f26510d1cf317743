package server

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"unterbau.internal/k3s/config"
	"unterbau.internal/k3s/pki"
)

// authorities are K3s' five: for its API, its clients, the front's word on who asks, etcd's clients, etcd's peers.
type authorities struct {
	server, client, front, etcdServer, etcdPeer *pki.Authority
}

func (s *server) tls(name ...string) string {
	return s.cfg.ServerDir(append([]string{"tls"}, name...)...)
}

// ensureEtcdCertificates are what etcd needs, which runs before anything else can be read.
func (s *server) ensureEtcdCertificates() (err error) {
	if s.cfg.External() {
		return nil
	}
	if s.auth.etcdServer, err = pki.EnsureAuthority(s.tls("etcd", "server-ca"), "etcd-server-ca"); err != nil {
		return err
	}
	if s.auth.etcdPeer, err = pki.EnsureAuthority(s.tls("etcd", "peer-ca"), "etcd-peer-ca"); err != nil {
		return err
	}
	hosts := s.ownHosts()
	etcd := s.auth.etcdServer
	if err := etcd.Ensure(s.tls("etcd", "client"), pki.Wanted{Name: "etcd-client"}); err != nil {
		return err
	}
	if err := etcd.Ensure(s.tls("etcd", "server-client"), pki.Wanted{Name: "etcd-server", Hosts: hosts, Client: true}); err != nil {
		return err
	}
	peer := pki.Wanted{Name: "etcd-peer", Hosts: hosts, Client: true}
	return s.auth.etcdPeer.Ensure(s.tls("etcd", "peer-server-client"), peer)
}

func (s *server) ownHosts() []string {
	hosts := []string{"localhost", "127.0.0.1", s.cfg.NodeName, s.cfg.NodeIP}
	for _, more := range append([]string{s.cfg.AdvertiseAddress}, s.cfg.TLSSANs...) {
		if !slices.Contains(hosts, more) {
			hosts = append(hosts, more)
		}
	}
	return hosts
}

// ensureCertificates are all the others; those that end soon or say something else than is wanted are made anew.
func (s *server) ensureCertificates() (err error) {
	if s.auth.server, err = pki.EnsureAuthority(s.tls("server-ca"), "k3s-server-ca"); err != nil {
		return err
	}
	if s.auth.client, err = pki.EnsureAuthority(s.tls("client-ca"), "k3s-client-ca"); err != nil {
		return err
	}
	if s.auth.front, err = pki.EnsureAuthority(s.tls("request-header-ca"), "k3s-request-header-ca"); err != nil {
		return err
	}
	if err := s.ensureClients(); err != nil {
		return err
	}
	hosts, err := s.apiHosts()
	if err != nil {
		return err
	}
	serving := pki.Wanted{Name: "kube-apiserver", Hosts: hosts}
	if err := s.auth.server.Ensure(s.tls("serving-kube-apiserver"), serving); err != nil {
		return err
	}
	if err := pki.EnsureRSAKey(s.tls("service.key")); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(s.tls("serving-kube-apiserver.crt"), s.tls("serving-kube-apiserver.key"))
	s.certs = &pair
	return err
}

func (s *server) ensureClients() error {
	masters := []string{"system:masters"}
	clients := map[string]pki.Wanted{
		"client-admin":                {Name: "system:admin", Organizations: masters},
		"client-supervisor":           {Name: "system:k3s-supervisor", Organizations: masters},
		"client-kube-apiserver":       {Name: "system:apiserver", Organizations: masters},
		"client-controller":           {Name: "system:kube-controller-manager"},
		"client-scheduler":            {Name: "system:kube-scheduler"},
		"client-kube-proxy":           {Name: "system:kube-proxy"},
		"client-k3s-controller":       {Name: "system:k3s-controller"},
		"client-k3s-cloud-controller": {Name: "k3s-cloud-controller-manager"},
	}
	for file, wanted := range clients {
		if err := s.auth.client.Ensure(s.tls(file), wanted); err != nil {
			return err
		}
	}
	return s.auth.front.Ensure(s.tls("client-auth-proxy"), pki.Wanted{Name: "system:auth-proxy"})
}

func (s *server) apiHosts() ([]string, error) {
	network, err := netip.ParsePrefix(s.cfg.ServiceCIDR)
	if err != nil {
		return nil, fmt.Errorf("service-cidr: %w", err)
	}
	hosts := append(s.ownHosts(), network.Masked().Addr().Next().String(), "kubernetes", "kubernetes.default")
	return append(hosts, "kubernetes.default.svc", "kubernetes.default.svc."+s.cfg.ClusterDomain), nil
}

// kubeconfig is one that shows the pair at tls/NAME and asks kube-apiserver itself, or the front with a user's.
func (s *server) kubeconfig(name string, port int) (string, error) {
	parts := []any{}
	for _, file := range []string{s.tls("server-ca.crt"), s.tls(name + ".crt"), s.tls(name + ".key")} {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		parts = append(parts, encoded(text))
	}
	url := "https://" + net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
	return fmt.Sprintf(kubeconfigText, parts[0], url, parts[1], parts[2]), nil
}

const kubeconfigText = `apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: %s
    server: %s
  name: default
contexts:
- context:
    cluster: default
    user: default
  name: default
current-context: default
kind: Config
preferences: {}
users:
- name: default
  user:
    client-certificate-data: %s
    client-key-data: %s
`

func (s *server) writeCredentials() error {
	files := map[string]string{
		"admin": "client-admin", "supervisor": "client-supervisor", "controller": "client-controller", "scheduler": "client-scheduler",
	}
	for file, name := range files {
		text, err := s.kubeconfig(name, config.InnerPort)
		if err != nil {
			return err
		}
		if err := write(s.cfg.ServerDir("cred", file+".kubeconfig"), text); err != nil {
			return err
		}
	}
	return nil
}

// writeKubeconfigs is the one for people, with the mode that was asked for.
func (s *server) writeKubeconfigs() error {
	text, err := s.kubeconfig("client-admin", config.APIPort)
	if err != nil {
		return err
	}
	var mode uint32
	if _, err := fmt.Sscanf(s.cfg.WriteKubeconfigMode, "%o", &mode); err != nil {
		return fmt.Errorf("write-kubeconfig-mode %q is no mode", s.cfg.WriteKubeconfigMode)
	}
	if err := os.MkdirAll(filepath.Dir(s.cfg.WriteKubeconfig), 0o755); err != nil {
		return err
	}
	return pki.Write(s.cfg.WriteKubeconfig, []byte(text), os.FileMode(mode))
}
