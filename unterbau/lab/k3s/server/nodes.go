package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"unterbau.internal/k3s/config"
	"unterbau.internal/k3s/pki"
)

const (
	etcdPrefix  = "etcd.k3s.cattle.io/"
	roles       = "node-role.kubernetes.io/"
	wrongSecret = "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match" +
		" server node-passwd entry, try enabling a unique node name with the --with-node-id flag"
)

func (s *server) handleAPIServers(answer http.ResponseWriter, request *http.Request) error {
	found, err := s.clients.DiscoveryV1().EndpointSlices("default").Get(request.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		return &failure{http.StatusServiceUnavailable, err.Error()}
	}
	all := []string{}
	for _, endpoint := range found.Endpoints {
		for _, address := range endpoint.Addresses {
			all = append(all, fmt.Sprintf("%s:%d", address, config.APIPort))
		}
	}
	return send(answer, all)
}

func (s *server) handleKubeletClient(answer http.ResponseWriter, request *http.Request) error {
	name, err := s.node(request)
	if err != nil {
		return err
	}
	return s.sign(answer, request, s.auth.client, pki.Wanted{Name: "system:node:" + name, Organizations: []string{"system:nodes"}})
}

func (s *server) handleKubeletServing(answer http.ResponseWriter, request *http.Request) error {
	name, err := s.node(request)
	if err != nil {
		return err
	}
	hosts := []string{name, "localhost", "127.0.0.1"}
	for _, address := range strings.Split(request.Header.Get("k3s-Node-IP"), ",") {
		if address = strings.TrimSpace(address); address != "" {
			hosts = append(hosts, address)
		}
	}
	return s.sign(answer, request, s.auth.server, pki.Wanted{Name: name, Hosts: hosts})
}

func (s *server) signer(wanted pki.Wanted) handler {
	return func(answer http.ResponseWriter, request *http.Request) error {
		return s.sign(answer, request, s.auth.client, wanted)
	}
}

func (s *server) sign(answer http.ResponseWriter, request *http.Request, by *pki.Authority, wanted pki.Wanted) error {
	text, err := io.ReadAll(request.Body)
	if err != nil {
		return err
	}
	asked, err := pki.Request(text)
	if err != nil {
		return &failure{http.StatusBadRequest, "no certificate request: " + err.Error()}
	}
	made, err := by.Sign(asked.PublicKey, wanted)
	if err == nil {
		answer.Write(made)
	}
	return err
}

// node is the name of the node that asks, once its password is the one that this name came with first.
func (s *server) node(request *http.Request) (string, error) {
	name, password := request.Header.Get("k3s-Node-Name"), request.Header.Get("k3s-Node-Password")
	if name == "" || password == "" {
		return "", &failure{http.StatusBadRequest, "node name and node password are required"}
	}
	if user := s.userOf(request); user != nil && user.Subject.CommonName != "system:node:"+name {
		return "", &failure{http.StatusForbidden, "this certificate is another node's"}
	}
	return name, s.checkPassword(request.Context(), name, password)
}

func (s *server) checkPassword(ctx context.Context, name, password string) error {
	secrets, secret := s.clients.CoreV1().Secrets("kube-system"), name+".node-password.k3s"
	found, err := secrets.Get(ctx, secret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		made := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret, Namespace: "kube-system"}}
		made.Data, made.Immutable = map[string][]byte{"hash": []byte(hashed(password, randomText(8)))}, new(bool)
		*made.Immutable = true
		_, err = secrets.Create(ctx, made, metav1.CreateOptions{})
		if err == nil {
			return nil
		}
	}
	if err != nil {
		return &failure{http.StatusServiceUnavailable, err.Error()}
	}
	kept := string(found.Data["hash"])
	salt, _, _ := strings.Cut(strings.TrimPrefix(kept, "$sha256$"), "$")
	if hashed(password, salt) != kept {
		return &failure{http.StatusForbidden, wrongSecret}
	}
	return nil
}

// hashed is enough for 128 random bits: nobody guesses those, however fast the hash.
func hashed(password, salt string) string {
	sum := sha256.Sum256([]byte(salt + password))
	return "$sha256$" + salt + "$" + hex.EncodeToString(sum[:])
}

// keepNode has this server's Node say what it is; a Node that is gone comes back with its kubelet, if at all.
func (s *server) keepNode(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.markNode(ctx); err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
			config.Log("cannot mark node %s: %v", s.cfg.NodeName, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(waitInterval * 4):
		}
	}
}

func (s *server) markNode(ctx context.Context) error {
	nodes := s.clients.CoreV1().Nodes()
	node, err := nodes.Get(ctx, s.cfg.NodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	labels, annotations := map[string]any{}, map[string]any{}
	for key, value := range s.labels() {
		if node.Labels[key] != value {
			labels[key] = value
		}
	}
	for key, value := range s.annotations(node) {
		if node.Annotations[key] != value {
			annotations[key] = value
		}
	}
	if node.Annotations[etcdPrefix+"removed-node-name"] != "" && node.Annotations[etcdPrefix+"removed-node-name"] != s.etcdName {
		annotations[etcdPrefix+"removed-node-name"], annotations[etcdPrefix+"remove"] = nil, nil
	}
	if len(labels)+len(annotations) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels, "annotations": annotations}})
	if err != nil {
		return err
	}
	_, err = nodes.Patch(ctx, s.cfg.NodeName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "k3s"})
	return err
}

func (s *server) labels() map[string]string {
	all := map[string]string{roles + "control-plane": "true", roles + "master": "true"}
	if !s.cfg.External() {
		all[roles+"etcd"] = "true"
	}
	return all
}

func (s *server) annotations(node *corev1.Node) map[string]string {
	all := map[string]string{"k3s.io/internal-ip": s.cfg.NodeIP, "k3s.io/hostname": s.cfg.NodeName}
	args, hash := nodeArguments(s.cfg)
	all["k3s.io/node-args"], all["k3s.io/node-config-hash"] = args, hash
	if !s.cfg.External() && node.Annotations[etcdPrefix+"removed-node-name"] != s.etcdName {
		all[etcdPrefix+"node-name"], all[etcdPrefix+"node-address"] = s.etcdName, s.cfg.NodeIP
	}
	if hash := s.encryptionAnnotation(); hash != "" {
		all["k3s.io/encryption-config-hash"] = hash
	}
	return all
}

// nodeArguments are the flags this server was started with, secrets masked, and a digest of them.
func nodeArguments(c *config.Config) (args, hash string) {
	words := append([]string{c.Role}, c.Arguments()...)
	text, _ := json.Marshal(words)
	sum := sha256.Sum256(text)
	return string(text), strings.ToUpper(hex.EncodeToString(sum[:16])) + "===="
}

// removeMembers takes those members out whose Node is annotated so, or is being deleted: the finalizer holds it till then.
func (s *server) removeMembers(ctx context.Context) {
	nodes, err := s.clients.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: roles + "etcd=true"})
	if err != nil {
		return
	}
	for _, node := range nodes.Items {
		if err := s.seeToNode(ctx, &node); err != nil {
			config.Log("cannot remove the etcd member of node %s: %v", node.Name, err)
		}
	}
}

const finalizer = "wrangler.cattle.io/managed-etcd-controller"

func (s *server) seeToNode(ctx context.Context, node *corev1.Node) error {
	asked := strings.EqualFold(node.Annotations[etcdPrefix+"remove"], "true")
	name, done := node.Annotations[etcdPrefix+"node-name"], node.Annotations[etcdPrefix+"removed-node-name"] != ""
	going := node.DeletionTimestamp != nil
	if (asked && !done || going) && name != "" {
		if err := s.removeMember(ctx, name); err != nil {
			return err
		}
	}
	switch held := hasFinalizer(node); {
	case going && held:
		return s.patchNode(ctx, node, map[string]any{"finalizers": others(node)})
	case asked && !done && !going && name != "":
		return s.patchNode(ctx, node, map[string]any{"annotations": map[string]any{
			etcdPrefix + "removed-node-name": name, etcdPrefix + "node-name": nil, etcdPrefix + "node-address": nil,
		}})
	case !going && !held:
		return s.patchNode(ctx, node, map[string]any{"finalizers": append(others(node), finalizer)})
	}
	return nil
}

func (s *server) removeMember(ctx context.Context, name string) error {
	members, err := s.etcd.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, member := range members.Members {
		if member.Name == name {
			config.Log("Removing name=%s id=%d from etcd", member.Name, member.ID)
			_, err = s.etcd.MemberRemove(ctx, member.ID)
		}
	}
	return err
}

func hasFinalizer(node *corev1.Node) bool { return len(others(node)) != len(node.Finalizers) }

func others(node *corev1.Node) []string {
	all := []string{}
	for _, one := range node.Finalizers {
		if one != finalizer {
			all = append(all, one)
		}
	}
	return all
}

func (s *server) patchNode(ctx context.Context, node *corev1.Node, metadata map[string]any) error {
	metadata["resourceVersion"] = node.ResourceVersion
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	_, err = s.clients.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "k3s"})
	return err
}

// rotateIfAsked drops the serving certificate where K3s' mark asks for a new one.
func (s *server) rotateIfAsked() error {
	mark := s.tls("dynamic-cert-regenerate")
	if !exists(mark) {
		return nil
	}
	for _, name := range []string{"serving-kube-apiserver.crt", "serving-kube-apiserver.key"} {
		if err := os.Remove(s.tls(name)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return os.Remove(mark)
}
