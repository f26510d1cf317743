// Package access asks a server of the cluster with a token, after the token has vouched for the server.
package access

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	timeout   = 15 * time.Second
	longLimit = 5 * time.Minute
)

// Client asks one server.
type Client struct {
	URL, User, Secret string
	CA                []byte
	http              *http.Client
}

// Refused is an answer that is no success.
type Refused struct {
	Code int
	Text string
}

func (r *Refused) Error() string {
	return fmt.Sprintf("%d %s: %s", r.Code, http.StatusText(r.Code), r.Text)
}

// Split is the secret within a token, and the hash of the authority that a full one names.
func Split(token string) (secret, caHash string) {
	token = strings.TrimSpace(token)
	hash, rest, found := strings.Cut(strings.TrimPrefix(token, "K10"), "::")
	if !strings.HasPrefix(token, "K10") || !found {
		return token, ""
	}
	if _, secret, found = strings.Cut(rest, ":"); !found {
		secret = rest
	}
	return secret, hash
}

// Dial gets the server's authority and compares it with the token's; a token without a hash takes what it gets.
func Dial(url, user, token string) (*Client, error) {
	secret, hash := Split(token)
	url = strings.TrimRight(url, "/")
	unchecked := &http.Client{Timeout: timeout, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	}}
	answer, err := unchecked.Get(url + "/cacerts")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	ca, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s/cacerts: %s %w", url, answer.Status, err)
	}
	sum := sha256.Sum256(ca)
	if found := hex.EncodeToString(sum[:]); hash != "" && found != hash {
		return nil, fmt.Errorf("token CA hash does not match the Cluster CA certificate hash: %s != %s", hash, found)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s/cacerts has no certificate", url)
	}
	trusting := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	return &Client{url, user, secret, ca, &http.Client{Timeout: longLimit, Transport: trusting}}, nil
}

// Ask sends a body, if there is one, and reads the whole answer.
func (c *Client) Ask(method, path string, body []byte, headers map[string]string) ([]byte, error) {
	request, err := http.NewRequest(method, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.SetBasicAuth(c.User, c.Secret)
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode/100 != 2 {
		return nil, &Refused{answer.StatusCode, strings.TrimSpace(string(text))}
	}
	return text, nil
}

// JSON asks with a value and reads the answer into another.
func (c *Client) JSON(method, path string, value, into any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	text, err := c.Ask(method, path, body, map[string]string{"Content-Type": "application/json"})
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(text, into)
}
