package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pool is a directory of subvolumes: volumes/ID and snapshots/ID, each with a record beside it, volumes/ID.json. The record
// is written first and removed last, so after a kill at any instruction a repeated call finds what was asked for and
// completes it.
type pool struct {
	dir string
	mu  sync.Mutex
}

// record is what a volume or snapshot was created with. Asking again with other values is a conflict.
type record struct {
	CapacityBytes int64  `json:"capacityBytes"`
	FromVolume    string `json:"fromVolume,omitempty"`
	FromSnapshot  string `json:"fromSnapshot,omitempty"`
	// The only node that may use the volume; none: every node may.
	Node      string    `json:"node,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
}

type shelf string

const (
	volumes   shelf = "volumes"
	snapshots shelf = "snapshots"
)

var (
	errConflict = errors.New("exists already with other parameters")
	errMissing  = errors.New("does not exist")
	identifier  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
)

func openPool(dir string) (*pool, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil, fmt.Errorf("pool %s: %w", dir, err)
	}
	if fs.Type != unix.BTRFS_SUPER_MAGIC {
		return nil, fmt.Errorf("pool %s is not on btrfs", dir)
	}
	for _, s := range []shelf{volumes, snapshots} {
		if err := os.MkdirAll(filepath.Join(dir, string(s)), 0o755); err != nil {
			return nil, err
		}
	}
	return &pool{dir: dir}, nil
}

func (p *pool) path(s shelf, id string) string { return filepath.Join(p.dir, string(s), id) }

// find returns the record of a subvolume that is whole.
func (p *pool) find(s shelf, id string) (record, error) {
	found, err := p.recorded(s, id)
	if err != nil {
		return found, err
	}
	if _, err := os.Stat(p.path(s, id)); os.IsNotExist(err) {
		return found, errMissing
	} else if err != nil {
		return found, err
	}
	return found, nil
}

// recorded returns the record, whether or not the subvolume was made yet.
func (p *pool) recorded(s shelf, id string) (record, error) {
	var found record
	if !identifier.MatchString(id) || strings.HasSuffix(id, ".json") {
		return found, errMissing
	}
	text, err := os.ReadFile(p.path(s, id) + ".json")
	if os.IsNotExist(err) {
		return found, errMissing
	}
	if err != nil {
		return found, err
	}
	return found, json.Unmarshal(text, &found)
}

// create makes the subvolume that want describes, or finds it made. Guarantees: the same call again returns the same
// record; other parameters under the same name return errConflict and change nothing.
func (p *pool) create(s shelf, id string, want record) (record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := ""
	switch {
	case want.FromVolume != "":
		if _, err := p.find(volumes, want.FromVolume); err != nil {
			return record{}, fmt.Errorf("source volume %s: %w", want.FromVolume, err)
		}
		from = p.path(volumes, want.FromVolume)
	case want.FromSnapshot != "":
		if _, err := p.find(snapshots, want.FromSnapshot); err != nil {
			return record{}, fmt.Errorf("source snapshot %s: %w", want.FromSnapshot, err)
		}
		from = p.path(snapshots, want.FromSnapshot)
	}
	path := p.path(s, id)
	if text, err := os.ReadFile(path + ".json"); err == nil {
		var have record
		if err := json.Unmarshal(text, &have); err != nil {
			return record{}, err
		}
		want.CreatedAt = have.CreatedAt
		if have != want {
			return record{}, errConflict
		}
	} else if !os.IsNotExist(err) {
		return record{}, err
	} else if err := writeRecord(path+".json", want); err != nil {
		return record{}, err
	}
	if _, err := os.Stat(path); err == nil {
		return want, nil
	}
	switch {
	case s == snapshots:
		return want, btrfs("subvolume", "snapshot", "-r", from, path)
	case from != "":
		return want, btrfs("subvolume", "snapshot", from, path)
	default:
		return want, btrfs("subvolume", "create", path)
	}
}

// remove deletes a subvolume. One that is not there is removed already.
func (p *pool) remove(s shelf, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !identifier.MatchString(id) {
		return nil
	}
	path := p.path(s, id)
	if _, err := os.Stat(path); err == nil {
		if err := btrfs("subvolume", "delete", path); err != nil {
			return err
		}
	}
	if err := os.Remove(path + ".json"); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func (p *pool) freeBytes() (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(p.dir, &fs); err != nil {
		return 0, err
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}

func writeRecord(path string, r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func btrfs(args ...string) error {
	output, err := exec.Command("btrfs", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("btrfs %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
