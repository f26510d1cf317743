package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const requestLimit = 20 * time.Second

// access is what a token says: whom to trust (the authority's hash; "" trusts the first answer) and who asks.
type access struct{ hash, user, secret string }

// parse reads `K10<sha256>::<user>:<secret>` or a bare secret.
func parse(token string) (access, error) {
	rest, full := strings.CutPrefix(token, "K10")
	if !full {
		return access{user: "node", secret: token}, nil
	}
	hash, credentials, found := strings.Cut(rest, "::")
	user, secret, named := strings.Cut(credentials, ":")
	if !found || !named || len(hash) != sha256.Size*2 {
		return access{}, fmt.Errorf("token is neither K10<sha256>::<user>:<secret> nor a bare secret")
	}
	return access{hash, user, secret}, nil
}

// cluster is what all nodes must know alike.
type cluster struct {
	ClusterDomain, ClusterDNS, ClusterIPRange, ServiceIPRange string
	FlannelBackend, ServerNodeName, ServerVersion             string
	APIPort                                                   int
	DisableNPC                                                bool
}

// supervisor is the server's side for nodes, at one address.
type supervisor struct {
	access access
	base   string
	roots  *x509.CertPool
}

// trust fetches the authority and compares it with the token's hash.
func (s *supervisor) trust(ctx context.Context) error {
	s.roots = nil
	text, err := s.text(ctx, "/cacerts")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	if found := hex.EncodeToString(sum[:]); s.access.hash != "" && found != s.access.hash {
		return fmt.Errorf("token CA hash does not match the Cluster CA certificate hash: %s != %s", s.access.hash, found)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s/cacerts has no certificate", s.base)
	}
	s.roots = roots
	return nil
}

// client trusts what `trust` found, and before that nobody: it then sends no secret either.
func (s *supervisor) client(own []tls.Certificate) *http.Client {
	security := &tls.Config{RootCAs: s.roots, Certificates: own, InsecureSkipVerify: s.roots == nil}
	return &http.Client{Timeout: requestLimit, Transport: &http.Transport{TLSClientConfig: security, DisableKeepAlives: true}}
}

func (s *supervisor) ask(ctx context.Context, method, path string, headers http.Header, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range headers {
		request.Header[name] = values
	}
	if s.roots != nil {
		request.SetBasicAuth(s.access.user, s.access.secret)
	}
	return answer(s.client(nil), request)
}

func answer(client *http.Client, request *http.Request) ([]byte, error) {
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", request.URL, response.Status, strings.TrimSpace(string(text)))
	}
	return text, nil
}

func (s *supervisor) text(ctx context.Context, path string) ([]byte, error) {
	return s.ask(ctx, http.MethodGet, path, nil, nil)
}

func (s *supervisor) get(ctx context.Context, path string, into any) error {
	text, err := s.text(ctx, path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// certify has a new key signed. It gets a new one at every start, so a certificate ends only on a node that never starts.
func (s *supervisor) certify(ctx context.Context, one certificate, headers http.Header) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return err
	}
	body := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})
	signed, err := s.ask(ctx, http.MethodPost, "/v1-k3s/"+one.name+".crt", headers, body)
	if err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	if err := write(one.key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		return err
	}
	return write(one.crt, signed, 0o644)
}
