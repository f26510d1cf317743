package server

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"unterbau.internal/k3s/config"
)

// connectInner is how the supervisor itself asks kube-apiserver, which need not be there yet.
func (s *server) connectInner() error {
	if err := s.writeCredentials(); err != nil {
		return err
	}
	transport, err := s.transport(s.tls("client-supervisor"))
	if err != nil {
		return err
	}
	s.inner = &http.Client{Transport: transport, Timeout: etcdTimeout}
	said := &rest.Config{
		Host: fmt.Sprintf("https://127.0.0.1:%d", config.InnerPort), QPS: 50, Burst: 100, Timeout: 30 * time.Second,
		TLSClientConfig: rest.TLSClientConfig{
			CAFile: s.tls("server-ca.crt"), CertFile: s.tls("client-supervisor.crt"), KeyFile: s.tls("client-supervisor.key"),
		},
	}
	if s.clients, err = kubernetes.NewForConfig(said); err != nil {
		return err
	}
	s.objects, err = dynamic.NewForConfig(said)
	return err
}

// startControlPlane starts kube-apiserver at once, the others when it answers: they would end without it.
func (s *server) startControlPlane(ctx context.Context) error {
	if err := s.child(ctx, &s.parts, "kube-apiserver", arguments(s.apiArguments(), s.cfg.APIServerArgs)); err != nil {
		return err
	}
	if err := s.awaitAPI(ctx); err != nil {
		return err
	}
	s.keep(ctx, "kube-scheduler", arguments(s.schedulerArguments(), s.cfg.SchedulerArgs))
	s.keep(ctx, "kube-controller-manager", arguments(s.controllerArguments(), s.cfg.ControllerArgs))
	return nil
}

// keep starts a part again that ended: both of these end when their lease could not be renewed in time, which in K3s
// ends the whole server. A lab on a busy machine would meet that for no other reason than being busy.
func (s *server) keep(ctx context.Context, name string, args []string) {
	s.parts.Add(1)
	go func() {
		defer s.parts.Done()
		for ctx.Err() == nil {
			process, err := config.Child(ctx, name, args, nil)
			if err != nil {
				s.ends <- err
				return
			}
			<-process.Done
			if ctx.Err() == nil {
				config.Log("%v; starting it again", process.End())
				time.Sleep(waitInterval * 2)
			}
		}
	}()
}

func (s *server) awaitAPI(ctx context.Context) error {
	return retry(ctx, "kube-apiserver", func() error {
		select {
		case err := <-s.ends:
			fatal(err)
		default:
		}
		return s.askReady(ctx)
	})
}

func (s *server) askReady(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("https://127.0.0.1:%d/readyz", config.InnerPort), nil)
	if err != nil {
		return err
	}
	answer, err := s.inner.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if text, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz: %s %s", answer.Status, strings.Join(failed(string(text)), ", "))
	}
	return nil
}

// failed are the checks that did not pass, of a verbose answer.
func failed(text string) []string {
	all := []string{}
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "[-]") {
			all = append(all, line)
		}
	}
	return all
}

// arguments are the defaults with what the configuration says over them: `key=value`, the last one wins.
func arguments(defaults map[string]string, said []string) []string {
	for _, one := range said {
		name, value, found := strings.Cut(strings.TrimLeft(one, "-"), "=")
		if !found {
			value = "true"
		}
		if name == "feature-gates" && defaults[name] != "" {
			value = defaults[name] + "," + value
		}
		defaults[name] = value
	}
	all := []string{}
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		all = append(all, "--"+name+"="+defaults[name])
	}
	return all
}

func (s *server) apiArguments() map[string]string {
	ca, cert, key := s.etcdFiles()
	said := map[string]string{
		"advertise-address": s.cfg.AdvertiseAddress,
		"bind-address":      "127.0.0.1", "secure-port": fmt.Sprint(config.InnerPort),
		"allow-privileged": "true", "anonymous-auth": "false", "authorization-mode": "Node,RBAC",
		"api-audiences":  "https://kubernetes.default.svc." + s.cfg.ClusterDomain + ",k3s",
		"client-ca-file": s.tls("client-ca.crt"), "enable-admission-plugins": "NodeRestriction",
		"enable-aggregator-routing": "true", "enable-bootstrap-token-auth": "true",
		"etcd-servers": strings.Join(s.etcdEndpoints(), ","), "etcd-cafile": ca, "etcd-certfile": cert, "etcd-keyfile": key,
		"kubelet-certificate-authority":   s.tls("server-ca.crt"),
		"kubelet-client-certificate":      s.tls("client-kube-apiserver.crt"),
		"kubelet-client-key":              s.tls("client-kube-apiserver.key"),
		"kubelet-preferred-address-types": "InternalIP,ExternalIP,Hostname",
		"proxy-client-cert-file":          s.tls("client-auth-proxy.crt"),
		"proxy-client-key-file":           s.tls("client-auth-proxy.key"),
		"requestheader-allowed-names":     "system:auth-proxy",
		"requestheader-client-ca-file":    s.tls("request-header-ca.crt"),
		"requestheader-username-headers":  "X-Remote-User", "requestheader-group-headers": "X-Remote-Group",
		"requestheader-extra-headers-prefix": "X-Remote-Extra-",
		"service-account-issuer":             "https://kubernetes.default.svc." + s.cfg.ClusterDomain,
		"service-account-key-file":           s.tls("service.key"),
		"service-account-signing-key-file":   s.tls("service.key"),
		"service-cluster-ip-range":           s.cfg.ServiceCIDR, "service-node-port-range": "30000-32767",
		"storage-backend": "etcd3", "profiling": "false", "shutdown-send-retry-after": "true",
		"tls-cert-file": s.tls("serving-kube-apiserver.crt"), "tls-private-key-file": s.tls("serving-kube-apiserver.key"),
		"cert-dir": s.tls("temporary-certs"),
	}
	for _, name := range []string{"etcd-cafile", "etcd-certfile", "etcd-keyfile"} {
		if said[name] == "" {
			delete(said, name)
		}
	}
	if exists(s.encryptionFile()) {
		said["encryption-provider-config"] = s.encryptionFile()
		said["encryption-provider-config-automatic-reload"] = "true"
	}
	return said
}

func (s *server) controllerArguments() map[string]string {
	credentials := s.cfg.ServerDir("cred", "controller.kubeconfig")
	said := map[string]string{
		"kubeconfig": credentials, "authentication-kubeconfig": credentials, "authorization-kubeconfig": credentials,
		"allocate-node-cidrs": "true", "cluster-cidr": s.cfg.ClusterCIDR, "service-cluster-ip-range": s.cfg.ServiceCIDR,
		"bind-address": "127.0.0.1", "secure-port": "10257", "profiling": "false",
		"controllers":                      "*,tokencleaner",
		"configure-cloud-routes":           "false",
		"root-ca-file":                     s.tls("server-ca.crt"),
		"service-account-private-key-file": s.tls("service.key"), "use-service-account-credentials": "true",
		"cert-dir": s.tls("temporary-certs"),
	}
	for kind, ca := range map[string]string{
		"kube-apiserver-client": "client-ca", "kubelet-client": "client-ca", "kubelet-serving": "server-ca", "legacy-unknown": "server-ca",
	} {
		said["cluster-signing-"+kind+"-cert-file"] = s.tls(ca + ".crt")
		said["cluster-signing-"+kind+"-key-file"] = s.tls(ca + ".key")
	}
	return said
}

func (s *server) schedulerArguments() map[string]string {
	credentials := s.cfg.ServerDir("cred", "scheduler.kubeconfig")
	return map[string]string{
		"kubeconfig": credentials, "authentication-kubeconfig": credentials, "authorization-kubeconfig": credentials,
		"bind-address": "127.0.0.1", "secure-port": "10259", "profiling": "false", "cert-dir": s.tls("temporary-certs"),
	}
}
