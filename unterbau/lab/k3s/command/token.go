package command

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"unterbau.internal/k3s/config"
)

const letters = "abcdefghijklmnopqrstuvwxyz0123456789"

// token is `k3s token`: bootstrap tokens are Secrets, the server's own is rotated by the server.
func token(i input) error {
	switch verb := i.verb(""); verb {
	case "generate":
		fmt.Println(random(6) + "." + random(16))
		return nil
	case "rotate":
		return rotateToken(i)
	case "create", "list", "delete":
		said, err := clientcmd.BuildConfigFromFlags("", i.flag("kubeconfig", config.Kubeconfig))
		if err != nil {
			return err
		}
		client, err := kubernetes.NewForConfig(said)
		if err != nil {
			return err
		}
		return map[string]func(input, *kubernetes.Clientset, []byte) error{
			"create": createToken, "list": listTokens, "delete": deleteTokens,
		}[verb](i, client, said.CAData)
	default:
		return fmt.Errorf("no such command: token %s", verb)
	}
}

func random(length int) string {
	made := strings.Builder{}
	for range length {
		at, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		if err != nil {
			panic(err)
		}
		made.WriteByte(letters[at.Int64()])
	}
	return made.String()
}

func rotateToken(i input) error {
	fmt.Println("WARNING: Recommended to keep a record of the old token. If restoring from a snapshot, you must use the token" +
		" associated with that snapshot.")
	client, err := i.client()
	if err != nil {
		return err
	}
	if err := client.JSON("PUT", "/v1-k3s/token", map[string]string{"newToken": i.flag("new-token", "")}, nil); err != nil {
		return err
	}
	fmt.Println("Token rotated, restart k3s nodes with new token")
	return nil
}

func createToken(i input, client *kubernetes.Clientset, ca []byte) error {
	id, secret, found := strings.Cut(i.verbAfter(random(6)+"."+random(16)), ".")
	if !found {
		return fmt.Errorf("the token is not of the form id.secret")
	}
	life, err := time.ParseDuration(i.flag("ttl", "24h"))
	if err != nil {
		return err
	}
	made := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id, Namespace: "kube-system"}, Type: corev1.SecretTypeBootstrapToken,
		StringData: map[string]string{
			"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
			"auth-extra-groups": "system:bootstrappers:k3s:default-node-token", "description": i.flag("description", ""),
		},
	}
	if life > 0 {
		made.StringData["expiration"] = time.Now().Add(life).UTC().Format(time.RFC3339)
	}
	if _, err := client.CoreV1().Secrets("kube-system").Create(context.Background(), made, metav1.CreateOptions{}); err != nil {
		return err
	}
	sum := sha256.Sum256(ca)
	fmt.Printf("K10%s::%s.%s\n", hex.EncodeToString(sum[:]), id, secret)
	return nil
}

func (i input) verbAfter(otherwise string) string {
	if len(i.words) > 1 {
		return i.words[1]
	}
	return otherwise
}

func listTokens(i input, client *kubernetes.Clientset, _ []byte) error {
	selector := metav1.ListOptions{FieldSelector: "type=" + string(corev1.SecretTypeBootstrapToken)}
	found, err := client.CoreV1().Secrets("kube-system").List(context.Background(), selector)
	if err != nil {
		return err
	}
	if i.flag("output", "") == "json" {
		all := []map[string]string{}
		for _, one := range found.Items {
			all = append(all, map[string]string{"token": string(one.Data["token-id"]), "expires": string(one.Data["expiration"])})
		}
		text, err := json.Marshal(all)
		fmt.Println(string(text))
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 10, 4, 3, ' ', 0)
	defer table.Flush()
	fmt.Fprintln(table, "TOKEN\tEXPIRES\tDESCRIPTION")
	for _, one := range found.Items {
		fmt.Fprintf(table, "%s\t%s\t%s\n", one.Data["token-id"], one.Data["expiration"], one.Data["description"])
	}
	return nil
}

func deleteTokens(i input, client *kubernetes.Clientset, _ []byte) error {
	if len(i.words) < 2 {
		return fmt.Errorf("missing argument; 'token delete' is missing token")
	}
	for _, one := range i.words[1:] {
		id, _, _ := strings.Cut(one, ".")
		name := "bootstrap-token-" + id
		if err := client.CoreV1().Secrets("kube-system").Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		fmt.Printf("bootstrap token %q deleted\n", id)
	}
	return nil
}
