package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"unterbau.internal/k3s/config"
	"unterbau.internal/k3s/s3"
)

const (
	tokenAnnotation = etcdPrefix + "snapshot-token-hash"
	storageLabel    = etcdPrefix + "snapshot-storage-node"
)

var (
	kinds   = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	records = schema.GroupVersionResource{Group: "k3s.cattle.io", Version: "v1", Resource: "etcdsnapshotfiles"}
)

type object = map[string]any

// ensureRecords has the kind that K3s keeps its snapshots' records as.
func (s *server) ensureRecords(ctx context.Context) error {
	open := object{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	column := func(name, kind, path string) any { return object{"name": name, "type": kind, "jsonPath": path} }
	kind := &unstructured.Unstructured{Object: object{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": object{"name": "etcdsnapshotfiles.k3s.cattle.io"},
		"spec": object{
			"group": "k3s.cattle.io", "scope": "Cluster",
			"names": object{
				"kind": "ETCDSnapshotFile", "listKind": "ETCDSnapshotFileList",
				"plural": "etcdsnapshotfiles", "singular": "etcdsnapshotfile",
			},
			"versions": []any{object{
				"name": "v1", "served": true, "storage": true,
				"schema": object{"openAPIV3Schema": object{"type": "object", "properties": object{"spec": open, "status": open}}},
				"additionalPrinterColumns": []any{
					column("SnapshotName", "string", ".spec.snapshotName"), column("Node", "string", ".spec.nodeName"),
					column("Location", "string", ".spec.location"), column("Size", "string", ".status.size"),
					column("CreationTime", "date", ".status.creationTime"),
				},
			}},
		},
	}}
	if _, err := s.objects.Resource(kinds).Create(ctx, kind, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	_, err := s.objects.Resource(records).List(ctx, metav1.ListOptions{Limit: 1})
	return err
}

// recordName is K3s': the file's name in small letters, where it is, and six digits of what it is told apart by.
func recordName(name, node, location string, inBucket bool) string {
	sum := sha256.Sum256([]byte(node + location))
	where := "local-"
	if inBucket {
		where = "s3-"
	}
	return where + strings.ToLower(name) + "-" + hex.EncodeToString(sum[:])[:6]
}

func (s *server) localRecord(path string, size int64, taken time.Time) *unstructured.Unstructured {
	name, location := filepath.Base(path), "file://"+path
	made := s.newRecord(recordName(name, s.cfg.NodeName, location, false), name, location, taken, size)
	label(made, storageLabel, s.cfg.NodeName)
	annotate(made, tokenAnnotation, tokenHash(s.passwords.server))
	return made
}

func (s *server) failedRecord(name string, taken time.Time, why error) *unstructured.Unstructured {
	made := s.newRecord(recordName(name, s.cfg.NodeName, "", false), name, "", taken, 0)
	label(made, storageLabel, s.cfg.NodeName)
	fail(made, taken, why)
	return made
}

func (s *server) s3Record(said config.S3, name string, size int64, taken time.Time, hash string, why error) *unstructured.Unstructured {
	location := "s3://" + filepath.Join(said.Bucket, said.Folder, name)
	made := s.newRecord(recordName(name, s.cfg.NodeName, location, true), name, location, taken, size)
	made.Object["spec"].(object)["s3"] = object{
		"endpoint": said.Endpoint, "bucket": said.Bucket, "region": said.Region, "prefix": said.Folder,
		"skipSSLVerify": said.SkipVerify, "insecure": said.Insecure,
	}
	label(made, storageLabel, "s3")
	if hash != "" {
		annotate(made, tokenAnnotation, hash)
	}
	if why != nil {
		fail(made, taken, why)
	}
	return made
}

func (s *server) newRecord(id, name, location string, taken time.Time, size int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: object{
		"apiVersion": "k3s.cattle.io/v1", "kind": "ETCDSnapshotFile", "metadata": object{"name": id},
		"spec":   object{"snapshotName": name, "nodeName": s.cfg.NodeName, "location": location},
		"status": object{"size": fmt.Sprint(size), "creationTime": stamp(taken), "readyToUse": true},
	}}
}

func fail(record *unstructured.Unstructured, taken time.Time, why error) {
	record.Object["status"] = object{
		"creationTime": stamp(taken), "readyToUse": false, "error": object{"time": stamp(taken), "message": why.Error()},
	}
}

func label(record *unstructured.Unstructured, key, value string) {
	record.SetLabels(map[string]string{key: value})
}

func annotate(record *unstructured.Unstructured, key, value string) {
	record.SetAnnotations(map[string]string{key: value})
}

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// record writes it; a snapshot is good without its record, so this only tells.
func (s *server) record(ctx context.Context, made *unstructured.Unstructured) {
	_, err := s.objects.Resource(records).Create(ctx, made, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		config.Log("Failed to sync ETCDSnapshotFile: %v", err)
	}
}

// reconcile adds the records of files that have none and deletes those whose files are gone: this node's, and the bucket's.
func (s *server) reconcile(ctx context.Context, to target) error {
	found, err := s.objects.Resource(records).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	wanted, err := s.wantedRecords(ctx, to)
	if err != nil {
		return err
	}
	for _, one := range found.Items {
		name := one.GetName()
		if _, there := wanted[name]; there {
			delete(wanted, name)
			continue
		}
		ready, _, _ := unstructured.NestedBool(one.Object, "status", "readyToUse")
		where := one.GetLabels()[storageLabel]
		if ready && (where == s.cfg.NodeName || where == "s3" && to.s3.Enabled) && !s.fileOf(&one) {
			if err := s.objects.Resource(records).Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
	}
	for _, made := range wanted {
		s.record(ctx, made)
	}
	return nil
}

// fileOf says whether the record's file is there: it may be in another folder than the configured one.
func (s *server) fileOf(record *unstructured.Unstructured) bool {
	location, _, _ := unstructured.NestedString(record.Object, "spec", "location")
	path, local := strings.CutPrefix(location, "file://")
	return local && exists(path)
}

// wantedRecords are those of the files that are there. Under which token a file was taken is known only to who took it.
func (s *server) wantedRecords(ctx context.Context, to target) (map[string]*unstructured.Unstructured, error) {
	names, err := snapshotFiles(to.dir)
	if err != nil {
		return nil, err
	}
	wanted := map[string]*unstructured.Unstructured{}
	for _, name := range names {
		path := filepath.Join(to.dir, name)
		file, err := os.Stat(path)
		if err != nil {
			continue
		}
		made := s.localRecord(path, file.Size(), takenAt(name, file.ModTime()))
		made.SetAnnotations(nil)
		wanted[made.GetName()] = made
	}
	if !to.s3.Enabled {
		return wanted, nil
	}
	return wanted, s.addBucket(ctx, to, wanted)
}

func (s *server) addBucket(ctx context.Context, to target, wanted map[string]*unstructured.Unstructured) error {
	bucket, said, err := s.bucket(ctx, to.s3)
	if err != nil {
		return err
	}
	objects, err := bucket.List(ctx, to.name)
	if err != nil {
		return err
	}
	for _, one := range objects {
		name := filepath.Base(one.Key)
		node := nodeOf(strings.TrimPrefix(name, to.name+"-"))
		location := "s3://" + filepath.Join(said.Bucket, said.Folder, name)
		made := s.s3Record(said, name, one.Size, takenAt(name, one.LastModified), "", nil)
		made.SetName(recordName(name, node, location, true))
		made.Object["spec"].(object)["nodeName"] = node
		wanted[made.GetName()] = made
	}
	return nil
}

// takenAt is the second that K3s writes at the end of the name.
func takenAt(name string, otherwise time.Time) time.Time {
	seconds, err := strconv.ParseInt(name[strings.LastIndexByte(name, '-')+1:], 10, 64)
	if err != nil {
		return otherwise
	}
	return time.Unix(seconds, 0)
}

// bucket is opened with the keys of the configuration or those of the Secret that it names.
func (s *server) bucket(ctx context.Context, said config.S3) (*s3.Bucket, config.S3, error) {
	said, err := s.s3Settings(ctx, said)
	if err != nil {
		return nil, said, err
	}
	bucket, err := s3.Open(said)
	return bucket, said, err
}

func (s *server) s3Settings(ctx context.Context, said config.S3) (config.S3, error) {
	if said.ConfigSecret == "" {
		return said, nil
	}
	secret, err := s.clients.CoreV1().Secrets("kube-system").Get(ctx, said.ConfigSecret, metav1.GetOptions{})
	if err != nil {
		return said, err
	}
	read := func(key string) string { return string(secret.Data["etcd-s3-"+key]) }
	said.Endpoint, said.Bucket, said.Region, said.Folder = read("endpoint"), read("bucket"), read("region"), read("folder")
	said.AccessKey, said.SecretKey, said.EndpointCA = read("access-key"), read("secret-key"), read("endpoint-ca")
	said.SkipVerify, said.Insecure = read("skip-ssl-verify") == "true", read("insecure") == "true"
	if kept, err := strconv.Atoi(read("retention")); err == nil {
		said.Retention = kept
	}
	if name := read("endpoint-ca-name"); name != "" {
		found, err := s.clients.CoreV1().ConfigMaps("kube-system").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return said, err
		}
		for _, text := range found.Data {
			said.EndpointCA += text + "\n"
		}
	}
	return said, nil
}

func (s *server) sendRecords(ctx context.Context, answer http.ResponseWriter) error {
	found, err := s.objects.Resource(records).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	return send(answer, found)
}
