package server

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"unterbau.internal/k3s/access"
	"unterbau.internal/k3s/config"
	"unterbau.internal/k3s/pki"
)

// bodyLimit is more than any request to the supervisor has.
const bodyLimit = 4 << 20

type handler func(answer http.ResponseWriter, request *http.Request) error

// failure is an answer that is no success, with its code.
type failure struct {
	code int
	text string
}

func (f *failure) Error() string { return f.text }

// routes are the supervisor's paths; who may ask what is in PROTOCOL.md.
func (s *server) routes(others http.Handler) http.Handler {
	router := http.NewServeMux()
	router.HandleFunc("GET /ping", func(answer http.ResponseWriter, _ *http.Request) { fmt.Fprint(answer, "pong") })
	router.HandleFunc("GET /cacerts", func(answer http.ResponseWriter, _ *http.Request) { answer.Write(s.auth.server.PEM) })
	for path, handle := range map[string]handler{
		"/v1-k3s/readyz": s.handleReady, "/v1-k3s/config": s.handleConfig, "/v1-k3s/apiservers": s.handleAPIServers,
		"/v1-k3s/client-ca.crt":             s.file(s.tls("client-ca.crt")),
		"/v1-k3s/server-ca.crt":             s.file(s.tls("server-ca.crt")),
		"/v1-k3s/client-kubelet.crt":        s.handleKubeletClient,
		"/v1-k3s/serving-kubelet.crt":       s.handleKubeletServing,
		"/v1-k3s/client-kube-proxy.crt":     s.signer(pki.Wanted{Name: "system:kube-proxy"}),
		"/v1-k3s/client-k3s-controller.crt": s.signer(pki.Wanted{Name: "system:k3s-controller"}),
	} {
		router.HandleFunc(path, s.guarded(false, handle))
	}
	for path, handle := range map[string]handler{
		"/v1-k3s/server-bootstrap": s.handleBootstrap, "/v1-k3s/token": s.handleToken, "/db/info": s.handleInfo,
		"/v1-k3s/encrypt/status": s.handleEncryptionStatus, "/v1-k3s/encrypt/config": s.handleEncryption,
		"/db/snapshot": s.handleSnapshot,
	} {
		router.HandleFunc(path, s.guarded(true, handle))
	}
	router.Handle("/", others)
	return router
}

// guarded asks for a node's or a server's secret, or for the certificate that a node got for it.
func (s *server) guarded(servers bool, handle handler) http.HandlerFunc {
	return func(answer http.ResponseWriter, request *http.Request) {
		if !s.allowed(servers, request) {
			refuse(answer, http.StatusUnauthorized, "Unauthorized")
			return
		}
		request.Body = http.MaxBytesReader(answer, request.Body, bodyLimit)
		err := handle(answer, request)
		if err == nil {
			return
		}
		config.Log("%s %s: %v", request.Method, request.URL.Path, err)
		if known, is := err.(*failure); is {
			refuse(answer, known.code, known.text)
		} else {
			refuse(answer, http.StatusInternalServerError, err.Error())
		}
	}
}

func (s *server) allowed(servers bool, request *http.Request) bool {
	if user := s.userOf(request); user != nil {
		groups := user.Subject.Organization
		return slices.Contains(groups, "system:masters") || !servers && slices.Contains(groups, "system:nodes")
	}
	user, secret, _ := request.BasicAuth()
	alike := func(wanted string) bool {
		return wanted != "" && subtle.ConstantTimeCompare([]byte(secret), []byte(wanted)) == 1
	}
	s.secrets.RLock()
	defer s.secrets.RUnlock()
	return user == "server" && alike(s.passwords.server) || !servers && user == "node" && alike(s.passwords.node)
}

func (s *server) file(path string) handler {
	return func(answer http.ResponseWriter, _ *http.Request) error {
		text, err := os.ReadFile(path)
		if err == nil {
			answer.Write(text)
		}
		return err
	}
}

func send(answer http.ResponseWriter, value any) error {
	answer.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(answer).Encode(value)
}

func receive(request *http.Request, into any) error {
	text, err := io.ReadAll(request.Body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return &failure{http.StatusBadRequest, err.Error()}
	}
	return nil
}

func (s *server) handleReady(answer http.ResponseWriter, request *http.Request) error {
	if err := s.askReady(request.Context()); err != nil {
		return &failure{http.StatusServiceUnavailable, err.Error()}
	}
	fmt.Fprintln(answer, "ok")
	return nil
}

func (s *server) handleConfig(answer http.ResponseWriter, _ *http.Request) error {
	c := s.cfg
	return send(answer, map[string]any{
		"ClusterDomain": c.ClusterDomain, "ClusterDNS": c.ClusterDNS, "ClusterIPRange": c.ClusterCIDR,
		"ServiceIPRange": c.ServiceCIDR, "FlannelBackend": c.FlannelBackend, "APIPort": config.APIPort,
		"ServerNodeName": c.NodeName, "ServerVersion": config.Version(), "DisableNPC": c.DisableNetworkPolicy,
		"EgressSelectorMode": c.EgressSelectorMode, "Critical": c.Critical(),
	})
}

func (s *server) handleBootstrap(answer http.ResponseWriter, _ *http.Request) error {
	files, err := s.readBootstrap()
	if err != nil {
		return err
	}
	return send(answer, files)
}

func (s *server) handleInfo(answer http.ResponseWriter, request *http.Request) error {
	members, err := s.etcd.MemberList(request.Context())
	if err != nil {
		return &failure{http.StatusServiceUnavailable, err.Error()}
	}
	return send(answer, info{members.Members})
}

// handleToken makes another secret the cluster's: its keys are encrypted under the new one, and no longer the old one.
func (s *server) handleToken(_ http.ResponseWriter, request *http.Request) error {
	wanted := struct {
		NewToken string `json:"newToken"`
	}{}
	if request.Method != http.MethodPut {
		return &failure{http.StatusMethodNotAllowed, "method not allowed"}
	}
	if err := receive(request, &wanted); err != nil {
		return err
	}
	fresh, _ := access.Split(strings.TrimSpace(wanted.NewToken))
	if fresh == "" {
		fresh = randomText(16)
	}
	return s.rotateToken(request.Context(), fresh)
}
