package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// mounted gives a real pool: a btrfs file system in a file, mounted for the test's time.
func mounted(t *testing.T) *pool {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	if _, err := exec.LookPath("mkfs.btrfs"); err != nil {
		t.Skip("btrfs-progs is not installed")
	}
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	for _, step := range [][]string{
		{"truncate", "--size=256M", image},
		{"mkfs.btrfs", "--quiet", image},
		{"mkdir", mount},
		{"mount", "-o", "loop", image, mount},
	} {
		if output, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", step, err, output)
		}
	}
	t.Cleanup(func() {
		if output, err := exec.Command("umount", mount).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, output)
		}
	})
	p, err := openPool(mount)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var (
	background  = context.Background()
	singleNode  = &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}}
	severalNode = &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER}}
)

func volume(name string, bytes int64, source *csi.VolumeContentSource) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name:                name,
		CapacityRange:       &csi.CapacityRange{RequiredBytes: bytes},
		VolumeCapabilities:  []*csi.VolumeCapability{singleNode},
		VolumeContentSource: source,
	}
}

func fromSnapshot(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: id},
	}}
}

func fromVolume(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: id},
	}}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func refused(t *testing.T, err error, code codes.Code) {
	t.Helper()
	if status.Code(err) != code {
		t.Fatalf("wanted %v, got %v", code, err)
	}
}

func TestEveryCallMayBeRepeated(t *testing.T) {
	p := mounted(t)
	c := controller{pool: p}
	for range 2 {
		made := must[*csi.CreateVolumeResponse](t)(c.CreateVolume(background, volume("v", 1<<20, nil)))
		if made.Volume.VolumeId != "v" || made.Volume.CapacityBytes != 1<<20 {
			t.Fatalf("unexpected volume %v", made)
		}
	}
	_, err := c.CreateVolume(background, volume("v", 2<<20, nil))
	refused(t, err, codes.AlreadyExists)

	var times [2]int64
	for i := range times {
		made := must[*csi.CreateSnapshotResponse](t)(c.CreateSnapshot(background, &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: "v"}))
		times[i] = made.Snapshot.CreationTime.AsTime().UnixNano()
	}
	if times[0] != times[1] {
		t.Fatal("a repeated CreateSnapshot made another snapshot")
	}
	must[*csi.CreateVolumeResponse](t)(c.CreateVolume(background, volume("other", 1<<20, nil)))
	_, err = c.CreateSnapshot(background, &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: "other"})
	refused(t, err, codes.AlreadyExists)

	for range 2 {
		must[*csi.DeleteSnapshotResponse](t)(c.DeleteSnapshot(background, &csi.DeleteSnapshotRequest{SnapshotId: "s"}))
		must[*csi.DeleteVolumeResponse](t)(c.DeleteVolume(background, &csi.DeleteVolumeRequest{VolumeId: "v"}))
	}
	if _, err := os.Stat(p.path(volumes, "v")); !os.IsNotExist(err) {
		t.Fatalf("the volume is still there: %v", err)
	}
}

func TestACreationCutShortIsCompleted(t *testing.T) {
	p := mounted(t)
	c := controller{pool: p}
	must[*csi.CreateVolumeResponse](t)(c.CreateVolume(background, volume("v", 1<<20, nil)))
	// What a kill between the record and the subvolume leaves behind.
	if err := btrfs("subvolume", "delete", p.path(volumes, "v")); err != nil {
		t.Fatal(err)
	}
	_, err := c.ValidateVolumeCapabilities(background, &csi.ValidateVolumeCapabilitiesRequest{VolumeId: "v", VolumeCapabilities: []*csi.VolumeCapability{singleNode}})
	refused(t, err, codes.NotFound)
	must[*csi.CreateVolumeResponse](t)(c.CreateVolume(background, volume("v", 1<<20, nil)))
	if _, err := os.Stat(p.path(volumes, "v")); err != nil {
		t.Fatal(err)
	}
}

func TestASnapshotKeepsWhatTheVolumeHeldThen(t *testing.T) {
	p := mounted(t)
	c := controller{pool: p}
	must[*csi.CreateVolumeResponse](t)(c.CreateVolume(background, volume("v", 1<<20, nil)))
	file := filepath.Join(p.path(volumes, "v"), "file")
	if err := os.WriteFile(file, []byte("then"), 0o600); err != nil {
		t.Fatal(err)
	}
	must[*csi.CreateSnapshotResponse](t)(c.CreateSnapshot(background, &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: "v"}))
	if err := os.WriteFile(file, []byte("now"), 0o600); err != nil {
		t.Fatal(err)
	}
	must[*csi.CreateVolumeResponse](t)(c.CreateVolume(background, volume("restored", 1<<20, fromSnapshot("s"))))
	text := must[[]byte](t)(os.ReadFile(filepath.Join(p.path(volumes, "restored"), "file")))
	if string(text) != "then" {
		t.Fatalf("the restored volume holds %q", text)
	}
	_, err := c.CreateVolume(background, volume("restored", 1<<20, nil))
	refused(t, err, codes.AlreadyExists)
	_, err = c.CreateVolume(background, volume("x", 1<<20, fromSnapshot("none")))
	refused(t, err, codes.NotFound)
}

func TestPublishingReadOnlyIsReadOnlyAndRepeatable(t *testing.T) {
	p := mounted(t)
	c, n := controller{pool: p}, nodeServer{pool: p, name: "n"}
	must[*csi.CreateVolumeResponse](t)(c.CreateVolume(background, volume("v", 1<<20, nil)))
	targets := t.TempDir()
	writable, readonly := filepath.Join(targets, "rw"), filepath.Join(targets, "ro")
	publish := func(target string, ro bool) {
		t.Helper()
		must[*csi.NodePublishVolumeResponse](t)(n.NodePublishVolume(background, &csi.NodePublishVolumeRequest{
			VolumeId: "v", TargetPath: target, VolumeCapability: singleNode, Readonly: ro,
		}))
	}
	unpublish := func(target string) {
		t.Helper()
		must[*csi.NodeUnpublishVolumeResponse](t)(n.NodeUnpublishVolume(background, &csi.NodeUnpublishVolumeRequest{VolumeId: "v", TargetPath: target}))
	}
	defer func() {
		_ = unix.Unmount(writable, unix.MNT_DETACH)
		_ = unix.Unmount(readonly, unix.MNT_DETACH)
	}()
	for range 2 {
		publish(writable, false)
		publish(readonly, true)
	}
	if err := os.WriteFile(filepath.Join(writable, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(filepath.Join(readonly, "file")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(readonly, "file"), []byte("y"), 0o600); err == nil {
		t.Fatal("the read-only volume took a write")
	}
	for range 2 {
		unpublish(writable)
		unpublish(readonly)
	}
	if _, err := os.Stat(filepath.Join(p.path(volumes, "v"), "file")); err != nil {
		t.Fatalf("unpublishing lost the data: %v", err)
	}
}

func TestWhatADiskOfOneNodeCannotBeIsRefused(t *testing.T) {
	c := controller{pool: mounted(t)}
	request := volume("v", 1<<20, nil)
	request.VolumeCapabilities = []*csi.VolumeCapability{severalNode}
	_, err := c.CreateVolume(background, request)
	refused(t, err, codes.InvalidArgument)
	_, err = c.CreateVolume(background, volume("../v", 1<<20, nil))
	refused(t, err, codes.InvalidArgument)
	_, err = c.CreateVolume(background, volume("v", 1<<50, nil))
	refused(t, err, codes.ResourceExhausted)
}
