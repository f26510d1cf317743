package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"unterbau.internal/k3s/config"
	"unterbau.internal/k3s/s3"
)

// snapshotRequest is what the command line asks the running server for.
type snapshotRequest struct {
	Operation string     `json:"operation"`
	Name      []string   `json:"name,omitempty"`
	Dir       *string    `json:"dir,omitempty"`
	Retention *int       `json:"retention,omitempty"`
	S3        *config.S3 `json:"s3,omitempty"`
}

// snapshotResult names what was made and what was deleted.
type snapshotResult struct {
	Created []string `json:"created,omitempty"`
	Deleted []string `json:"deleted,omitempty"`
}

// target is where a snapshot goes and how many of its name stay.
type target struct {
	name, dir string
	keep      int
	s3        config.S3
}

func (s *server) target() target {
	return target{s.cfg.SnapshotName, s.cfg.SnapshotDir, s.cfg.SnapshotRetention, s.cfg.S3}
}

func (s *server) handleSnapshot(answer http.ResponseWriter, request *http.Request) error {
	asked := snapshotRequest{}
	if request.Method != http.MethodPost {
		return &failure{http.StatusMethodNotAllowed, "method not allowed"}
	}
	if err := receive(request, &asked); err != nil {
		return err
	}
	ctx, to := context.WithoutCancel(request.Context()), s.target()
	if asked.Dir != nil {
		to.dir = *asked.Dir
	}
	if asked.Retention != nil {
		to.keep = *asked.Retention
	}
	if asked.S3 != nil {
		to.s3 = *asked.S3
	}
	result, err := snapshotResult{}, error(nil)
	switch asked.Operation {
	case "list":
		if err := s.reconcile(ctx, to); err != nil {
			return err
		}
		return s.sendRecords(ctx, answer)
	case "save":
		if len(asked.Name) > 0 {
			to.name = asked.Name[0]
		}
		to.keep = 0 // what a person asked for is never pruned
		result, err = s.save(ctx, to)
	case "prune":
		if len(asked.Name) > 0 {
			to.name = asked.Name[0]
		}
		result, err = s.prune(ctx, to)
	case "delete":
		result, err = s.deleteSnapshots(ctx, to, asked.Name)
	default:
		return &failure{http.StatusBadRequest, "invalid snapshot operation"}
	}
	if err != nil {
		return err
	}
	return send(answer, result)
}

// keepSnapshots takes them by the schedule, and has the records agree with what is there.
func (s *server) keepSnapshots(ctx context.Context) {
	if err := retry(ctx, "the kind ETCDSnapshotFile", func() error { return s.ensureRecords(ctx) }); err != nil {
		return
	}
	schedule, err := cron.ParseStandard(s.cfg.SnapshotCron)
	if err != nil {
		s.ends <- fmt.Errorf("etcd-snapshot-schedule-cron %q: %w", s.cfg.SnapshotCron, err)
		return
	}
	next, look := schedule.Next(time.Now()), time.NewTicker(time.Minute)
	defer look.Stop()
	for {
		if err := s.reconcile(ctx, s.target()); err != nil && ctx.Err() == nil {
			config.Log("cannot reconcile the records of snapshots: %v", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-time.After(time.Until(next)):
			if !s.cfg.SnapshotsOff {
				s.scheduled(ctx)
			}
			next = schedule.Next(time.Now())
		}
	}
}

func (s *server) scheduled(ctx context.Context) {
	if _, err := s.save(ctx, s.target()); err != nil {
		config.Log("Failed to take etcd snapshot: %v", err)
	}
}

// save takes one; it fails as a whole only if there is no local file, as K3s does.
func (s *server) save(ctx context.Context, to target) (result snapshotResult, err error) {
	if !s.snapshots.TryLock() {
		return result, fmt.Errorf("snapshot save already in progress")
	}
	defer s.snapshots.Unlock()
	if err := os.MkdirAll(to.dir, 0o700); err != nil {
		return result, err
	}
	now := time.Now().Round(time.Second)
	name := fmt.Sprintf("%s-%s-%d", to.name, s.cfg.NodeName, now.Unix())
	path := filepath.Join(to.dir, name)
	config.Log("Saving etcd snapshot to %s", path)
	if err := s.copyDatabase(ctx, path); err != nil {
		s.record(ctx, s.failedRecord(name, now, err))
		return result, fmt.Errorf("failed to take etcd snapshot: %w", err)
	}
	result.Created = append(result.Created, name)
	if file, err := os.Stat(path); err == nil {
		s.record(ctx, s.localRecord(path, file.Size(), now))
	}
	if to.s3.Enabled {
		if err := s.upload(ctx, to, path, now); err != nil {
			config.Log("Error received during snapshot upload to S3: %v", err)
		}
	}
	if to.keep > 0 {
		pruned, err := s.prune(ctx, to)
		result.Deleted = append(result.Deleted, pruned.Deleted...)
		return result, err
	}
	return result, s.reconcile(ctx, to)
}

// copyDatabase has the file whole or not at all; its last bytes are etcd's own checksum, which a restore compares.
func (s *server) copyDatabase(ctx context.Context, path string) error {
	from, err := s.etcd.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer from.Close()
	part, err := os.OpenFile(path+".part", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(path + ".part")
	defer part.Close()
	if _, err := io.Copy(part, from); err != nil {
		return err
	}
	if err := part.Sync(); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}

func (s *server) upload(ctx context.Context, to target, path string, now time.Time) error {
	said, err := s.s3Settings(ctx, to.s3)
	if err == nil {
		var bucket *s3.Bucket
		if bucket, err = s3.Open(said); err == nil {
			err = bucket.Put(ctx, path, map[string]string{
				"K3s-Node-Name": s.cfg.NodeName, "K3s-Token-Hash": tokenHash(s.passwords.server),
			})
		}
	}
	size := int64(0)
	if file, found := os.Stat(path); found == nil {
		size = file.Size()
	}
	s.record(ctx, s.s3Record(said, filepath.Base(path), size, now, tokenHash(s.passwords.server), err))
	return err
}

// prune deletes the oldest of this name and node, beyond those that stay; locally, and in the bucket.
func (s *server) prune(ctx context.Context, to target) (result snapshotResult, err error) {
	prefix := to.name + "-" + s.cfg.NodeName + "-"
	local, err := snapshotFiles(to.dir)
	if err != nil {
		return result, err
	}
	for _, name := range beyond(local, prefix, to.keep) {
		if err := os.Remove(filepath.Join(to.dir, name)); err != nil {
			return result, err
		}
		result.Deleted = append(result.Deleted, name)
	}
	if to.s3.Enabled {
		if err := s.pruneBucket(ctx, to, prefix); err != nil {
			config.Log("Failed to apply s3 snapshot retention policy: %v", err)
		}
	}
	return result, s.reconcile(ctx, to)
}

func (s *server) pruneBucket(ctx context.Context, to target, prefix string) error {
	bucket, said, err := s.bucket(ctx, to.s3)
	if err != nil {
		return err
	}
	objects, err := bucket.List(ctx, prefix)
	if err != nil {
		return err
	}
	names := []string{}
	for _, object := range objects {
		names = append(names, filepath.Base(object.Key))
	}
	keep := to.keep
	if said.Retention > 0 {
		keep = said.Retention
	}
	for _, name := range beyond(names, prefix, keep) {
		if err := bucket.Delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// beyond are the older ones of these, past the newest `keep`; none if keep is 0.
func beyond(names []string, prefix string, keep int) []string {
	mine := []string{}
	for _, name := range names {
		if strings.HasPrefix(name, prefix) && !strings.Contains(name[len(prefix):], "-") {
			mine = append(mine, name)
		}
	}
	sort.Strings(mine)
	if keep <= 0 || len(mine) <= keep {
		return nil
	}
	return mine[:len(mine)-keep]
}

// deleteSnapshots deletes those of these names that are here or in the bucket.
func (s *server) deleteSnapshots(ctx context.Context, to target, names []string) (result snapshotResult, err error) {
	for _, name := range names {
		if filepath.Base(name) != name || name == "." || name == ".." {
			return result, &failure{http.StatusBadRequest, "invalid snapshot name: " + name}
		}
		err := os.Remove(filepath.Join(to.dir, name))
		if err != nil && !os.IsNotExist(err) {
			return result, err
		}
		gone := err == nil
		if to.s3.Enabled {
			if bucket, _, err := s.bucket(ctx, to.s3); err == nil {
				gone = bucket.Delete(ctx, name) == nil || gone
			}
		}
		if gone {
			result.Deleted = append(result.Deleted, name)
		}
	}
	return result, s.reconcile(ctx, to)
}

// snapshotFiles are the names in the folder; none if it is not there.
func snapshotFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	names := []string{}
	for _, entry := range entries {
		if entry.Type().IsRegular() && !strings.HasSuffix(entry.Name(), ".part") {
			names = append(names, entry.Name())
		}
	}
	return slices.Clip(names), err
}
