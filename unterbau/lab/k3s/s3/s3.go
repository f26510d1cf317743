// Package s3 puts, lists and deletes objects: the four requests that snapshots need, signed as AWS says (version 4).
package s3

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"unterbau.internal/k3s/config"
)

const timeout = 5 * time.Minute

// Bucket is one bucket, with a folder in it.
type Bucket struct {
	said   config.S3
	client *http.Client
	base   url.URL
}

// Object is one file of the folder.
type Object struct {
	Key          string
	Size         int64
	LastModified time.Time
}

// Open asks nothing yet.
func Open(said config.S3) (*Bucket, error) {
	if said.Endpoint == "" || said.Bucket == "" {
		return nil, fmt.Errorf("s3 needs an endpoint and a bucket")
	}
	if said.Region == "" {
		said.Region = "us-east-1"
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: said.SkipVerify}
	if said.EndpointCA != "" {
		text, err := authority(said.EndpointCA)
		if err != nil {
			return nil, err
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("etcd-s3-endpoint-ca has no certificate")
		}
	}
	scheme := "https"
	if said.Insecure {
		scheme = "http"
	}
	transport := &http.Transport{TLSClientConfig: trust, Proxy: http.ProxyFromEnvironment}
	return &Bucket{said, &http.Client{Timeout: timeout, Transport: transport}, url.URL{Scheme: scheme, Host: said.Endpoint}}, nil
}

// authority is PEM, as it is, as base64 or as the path of a file that has it.
func authority(text string) ([]byte, error) {
	if strings.Contains(text, "-----BEGIN") {
		return []byte(text), nil
	}
	if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
		return decoded, nil
	}
	return os.ReadFile(text)
}

// Put stores the file in the folder under its own name.
func (b *Bucket) Put(ctx context.Context, file string, metadata map[string]string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	headers := map[string]string{"Content-Type": "application/octet-stream"}
	for name, value := range metadata {
		headers["X-Amz-Meta-"+name] = value
	}
	_, err = b.ask(ctx, "PUT", path.Join(b.said.Folder, path.Base(file)), nil, text, headers)
	return err
}

// Get is the object of that name in the folder.
func (b *Bucket) Get(ctx context.Context, name string) ([]byte, error) {
	return b.ask(ctx, "GET", path.Join(b.said.Folder, name), nil, nil, nil)
}

// Delete takes it away.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	_, err := b.ask(ctx, "DELETE", path.Join(b.said.Folder, name), nil, nil, nil)
	return err
}

// List is every object of the folder whose name begins so; up to a thousand, which snapshots never are.
func (b *Bucket) List(ctx context.Context, prefix string) ([]Object, error) {
	query := url.Values{"list-type": {"2"}, "prefix": {strings.TrimPrefix(path.Join(b.said.Folder, prefix), "/")}}
	text, err := b.ask(ctx, "GET", "", query, nil, nil)
	if err != nil {
		return nil, err
	}
	found := struct{ Contents []Object }{}
	err = xml.Unmarshal(text, &found)
	return found.Contents, err
}

func (b *Bucket) ask(ctx context.Context, method, key string, query url.Values, body []byte, headers map[string]string) ([]byte, error) {
	target := b.base
	target.Path = "/" + b.said.Bucket + "/" + key
	target.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	b.sign(request, body)
	answer, err := b.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s/%s: %s %s", method, b.said.Bucket, key, answer.Status, errorCode(text))
	}
	return text, err
}

func errorCode(text []byte) string {
	found := struct{ Code, Message string }{}
	_ = xml.Unmarshal(text, &found)
	return strings.TrimSpace(found.Code + " " + found.Message)
}

// sign adds the signature. Source: AWS, "Authenticating Requests: Using the Authorization Header".
func (b *Bucket) sign(request *http.Request, body []byte) {
	now := time.Now().UTC()
	stamp, day := now.Format("20060102T150405Z"), now.Format("20060102")
	digest := sha256.Sum256(body)
	request.Header.Set("X-Amz-Date", stamp)
	request.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(digest[:]))
	names := []string{"host"}
	values := map[string]string{"host": request.URL.Host}
	for name := range request.Header {
		low := strings.ToLower(name)
		if strings.HasPrefix(low, "x-amz-") || low == "content-type" {
			names, values[low] = append(names, low), strings.TrimSpace(request.Header.Get(name))
		}
	}
	slices.Sort(names)
	canonical := strings.Builder{}
	fmt.Fprintf(&canonical, "%s\n%s\n%s\n", request.Method, request.URL.EscapedPath(), request.URL.RawQuery)
	for _, name := range names {
		fmt.Fprintf(&canonical, "%s:%s\n", name, values[name])
	}
	signed := strings.Join(names, ";")
	fmt.Fprintf(&canonical, "\n%s\n%s", signed, hex.EncodeToString(digest[:]))
	scope := day + "/" + b.said.Region + "/s3/aws4_request"
	whole := sha256.Sum256([]byte(canonical.String()))
	key := []byte("AWS4" + b.said.SecretKey)
	for _, part := range []string{day, b.said.Region, "s3", "aws4_request", "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(whole[:])} {
		key = mac(key, part)
	}
	request.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		b.said.AccessKey, scope, signed, hex.EncodeToString(key)))
}

func mac(key []byte, text string) []byte {
	made := hmac.New(sha256.New, key)
	made.Write([]byte(text))
	return made.Sum(nil)
}
