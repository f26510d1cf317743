package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"unterbau.internal/k3s/config"
	"unterbau.internal/k3s/pki"
)

// reloadLimit is more than the minute after which kube-apiserver looks at the file again.
const reloadLimit = 75 * time.Second

type encryptionKey struct {
	Name   string `json:"name"`
	Secret string `json:"secret"`
}

// encryption is kube-apiserver's configuration as far as K3s writes it: keys in their order, the first one encrypts.
type encryption struct {
	Keys    []encryptionKey
	Enabled bool
}

func (s *server) encryptionFile() string { return s.cfg.ServerDir("cred", "encryption-config.json") }

func (s *server) encryptionStateFile() string {
	return s.cfg.ServerDir("cred", "encryption-state.json")
}

// ensureEncryption makes the first key; a cluster that has a configuration keeps it.
func (s *server) ensureEncryption() error {
	if !s.cfg.SecretsEncryption || exists(s.encryptionFile()) {
		return nil
	}
	if err := s.writeEncryption(encryption{[]encryptionKey{newKey("aescbckey")}, true}); err != nil {
		return err
	}
	return s.writeStage("start")
}

func newKey(name string) encryptionKey {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		panic(err)
	}
	return encryptionKey{name, encoded(secret)}
}

func (s *server) writeEncryption(said encryption) error {
	keys := map[string]any{"aescbc": map[string]any{"keys": said.Keys}}
	identity := map[string]any{"identity": map[string]any{}}
	providers := []any{keys, identity}
	if !said.Enabled {
		providers = []any{identity, keys}
	}
	text, err := json.Marshal(map[string]any{
		"kind": "EncryptionConfiguration", "apiVersion": "apiserver.config.k8s.io/v1",
		"resources": []any{map[string]any{"resources": []string{"secrets"}, "providers": providers}},
	})
	if err != nil {
		return err
	}
	return pki.Write(s.encryptionFile(), text, 0o600)
}

func (s *server) readEncryption() (said encryption, err error) {
	text, err := os.ReadFile(s.encryptionFile())
	if err != nil {
		return said, err
	}
	read := struct {
		Resources []struct {
			Providers []struct {
				AESCBC *struct{ Keys []encryptionKey }
			}
		}
	}{}
	if err := json.Unmarshal(text, &read); err != nil {
		return said, err
	}
	for _, resource := range read.Resources {
		for i, provider := range resource.Providers {
			if provider.AESCBC != nil {
				said.Keys, said.Enabled = provider.AESCBC.Keys, i == 0
			}
		}
	}
	return said, nil
}

// writeStage keeps how far a rotation is, with a digest of the configuration that it is true of.
func (s *server) writeStage(stage string) error {
	text, err := os.ReadFile(s.encryptionFile())
	if err != nil {
		return err
	}
	return write(s.encryptionStateFile(), stage+"-"+hexDigest(text))
}

// encryptionAnnotation is what this server's Node says: stage and digest; "" without encryption.
func (s *server) encryptionAnnotation() string {
	text, err := os.ReadFile(s.encryptionStateFile())
	if err != nil {
		return ""
	}
	return string(text)
}

func (s *server) stage() (stage, digest string) {
	text := s.encryptionAnnotation()
	at := strings.LastIndexByte(text, '-')
	if at < 0 {
		return "", ""
	}
	return text[:at], text[at+1:]
}

// disagreement is why the servers' configurations are not known to be alike; nil if they are.
func (s *server) disagreement(ctx context.Context) error {
	nodes, err := s.clients.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: roles + "control-plane=true"})
	if err != nil {
		return err
	}
	_, own := s.stage()
	for _, node := range nodes.Items {
		said := node.Annotations["k3s.io/encryption-config-hash"]
		if node.Name == s.cfg.NodeName {
			continue
		}
		if digest := said[strings.LastIndexByte(said, '-')+1:]; digest != own {
			return fmt.Errorf("hash does not match between %s and %s", s.cfg.NodeName, node.Name)
		}
	}
	return nil
}

func (s *server) handleEncryptionStatus(answer http.ResponseWriter, request *http.Request) error {
	said, err := s.readEncryption()
	if errors.Is(err, os.ErrNotExist) {
		return send(answer, map[string]any{"stage": "", "activekey": ""})
	}
	if err != nil {
		return err
	}
	stage, _ := s.stage()
	status := map[string]any{"stage": stage, "activekey": "", "enable": said.Enabled}
	if err := s.disagreement(request.Context()); err != nil {
		status["hasherror"] = err.Error()
	} else {
		status["hashmatch"] = true
	}
	inactive := []string{}
	for i, key := range said.Keys {
		if i == 0 && said.Enabled {
			status["activekey"] = "AES-CBC " + key.Name
		} else {
			inactive = append(inactive, "AES-CBC "+key.Name)
		}
	}
	if len(inactive) > 0 {
		status["inactivekeys"] = inactive
	}
	return send(answer, status)
}

// encryptionRequest is what the command line asks for.
type encryptionRequest struct {
	Stage  *string `json:"stage,omitempty"`
	Enable *bool   `json:"enable,omitempty"`
	Force  bool    `json:"force"`
	Skip   bool    `json:"skip"`
}

func (s *server) handleEncryption(_ http.ResponseWriter, request *http.Request) error {
	asked := encryptionRequest{}
	if request.Method != http.MethodPut {
		return &failure{http.StatusMethodNotAllowed, "method not allowed"}
	}
	if err := receive(request, &asked); err != nil {
		return err
	}
	s.rotating.Lock()
	defer s.rotating.Unlock()
	ctx := context.WithoutCancel(request.Context())
	if err := s.encrypt(ctx, asked); err != nil {
		return &failure{http.StatusBadRequest, err.Error()}
	}
	return s.saveBootstrap(ctx, s.passwords.server)
}

// befores are the stages that each one may follow.
var befores = map[string][]string{
	"prepare": {"start", "reencrypt_finished"}, "rotate": {"prepare"}, "reencrypt_active": {"rotate"},
	"rotate_keys": {"start", "reencrypt_finished"},
}

func (s *server) encrypt(ctx context.Context, asked encryptionRequest) error {
	said, err := s.readEncryption()
	if err != nil {
		return err
	}
	if asked.Stage == nil {
		said.Enabled = asked.Enable != nil && *asked.Enable
		if err := s.change(ctx, said, ""); err != nil {
			return err
		}
		return s.rewriteSecrets(ctx)
	}
	if err := s.mayFollow(ctx, *asked.Stage); err != nil && !asked.Force {
		return err
	}
	switch *asked.Stage {
	case "prepare":
		said.Keys = append(said.Keys, newKey(keyName()))
		return s.change(ctx, said, "prepare")
	case "rotate":
		last := len(said.Keys) - 1
		said.Keys = append([]encryptionKey{said.Keys[last]}, said.Keys[:last]...)
		return s.change(ctx, said, "rotate")
	case "rotate_keys":
		said.Keys = append([]encryptionKey{newKey(keyName())}, said.Keys...)
	}
	return s.reencrypt(ctx, said, *asked.Stage == "rotate_keys", asked.Skip)
}

func keyName() string { return "aescbckey-" + time.Now().UTC().Format(time.RFC3339) }

func (s *server) mayFollow(ctx context.Context, stage string) error {
	allowed, known := befores[stage]
	if !known {
		return fmt.Errorf("unknown stage %s requested", stage)
	}
	if err := s.disagreement(ctx); err != nil {
		return err
	}
	if now, _ := s.stage(); !slices.Contains(allowed, now) {
		return fmt.Errorf("incorrect stage: %s found on node %s", now, s.cfg.NodeName)
	}
	return nil
}

func (s *server) change(_ context.Context, said encryption, stage string) error {
	if err := s.writeEncryption(said); err != nil || stage == "" {
		return err
	}
	return s.writeStage(stage)
}

// reencrypt writes every Secret again under the first key, then drops the last one.
func (s *server) reencrypt(ctx context.Context, said encryption, fresh, keep bool) error {
	if err := s.writeStage("reencrypt_active"); err != nil {
		return err
	}
	if fresh {
		if err := s.changeAndAwait(ctx, said); err != nil {
			return err
		}
	}
	if err := s.rewriteSecrets(ctx); err != nil || keep {
		return err
	}
	said.Keys = said.Keys[:len(said.Keys)-1]
	return s.change(ctx, said, "reencrypt_finished")
}

// changeAndAwait counts kube-apiserver's reloads: what it writes before that is still under the old key.
func (s *server) changeAndAwait(ctx context.Context, said encryption) error {
	before, err := s.reloads(ctx)
	if err != nil {
		return err
	}
	if err := s.writeEncryption(said); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, reloadLimit)
	defer cancel()
	return retry(bounded, "kube-apiserver's reload of the encryption keys", func() error {
		if after, err := s.reloads(ctx); err != nil || after != before {
			return err
		}
		return errors.New("not yet")
	})
}

// reloads is the line of kube-apiserver's metrics that counts successful ones, "" before the first.
func (s *server) reloads(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("https://127.0.0.1:%d/metrics", config.InnerPort), nil)
	if err != nil {
		return "", err
	}
	answer, err := s.inner.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "apiserver_encryption_config_controller_automatic_reloads_total") && strings.Contains(line, `"success"`) {
			return line, nil
		}
	}
	return "", err
}

func (s *server) rewriteSecrets(ctx context.Context) error {
	for next := ""; ; {
		page, err := s.clients.CoreV1().Secrets("").List(ctx, metav1.ListOptions{Limit: 100, Continue: next})
		if err != nil {
			return err
		}
		for _, secret := range page.Items {
			_, err := s.clients.CoreV1().Secrets(secret.Namespace).Update(ctx, &secret, metav1.UpdateOptions{})
			if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
				return err
			}
		}
		if next = page.Continue; next == "" {
			return nil
		}
	}
}
