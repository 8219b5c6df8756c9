package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
)

// placed asks for a volume like the provisioner does for a pod that the scheduler has put on the first of the nodes.
func placed(name string, source *csi.VolumeContentSource, nodes ...string) *csi.CreateVolumeRequest {
	request := volume(name, 1<<20, source)
	request.AccessibilityRequirements = &csi.TopologyRequirement{}
	for _, node := range nodes {
		request.AccessibilityRequirements.Preferred = append(request.AccessibilityRequirements.Preferred, on(node))
	}
	// What may be is unordered: here it comes the other way round.
	for i := len(nodes) - 1; i >= 0; i-- {
		request.AccessibilityRequirements.Requisite = append(request.AccessibilityRequirements.Requisite, on(nodes[i]))
	}
	return request
}

// home is the node that a volume belongs to, as the answer says; "" is every node.
func home(t *testing.T, response *csi.CreateVolumeResponse) string {
	t.Helper()
	switch topology := response.Volume.AccessibleTopology; len(topology) {
	case 0:
		return ""
	case 1:
		return topology[0].Segments[topologyKey]
	default:
		t.Fatalf("a volume of several nodes: %v", topology)
		return ""
	}
}

func TestTheDriverSaysThatVolumesBelongToNodes(t *testing.T) {
	capabilities := must[*csi.GetPluginCapabilitiesResponse](t)(identity{}.GetPluginCapabilities(background, nil))
	said := false
	for _, capability := range capabilities.Capabilities {
		said = said || capability.GetService().GetType() == csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS
	}
	if !said {
		t.Fatal("without VOLUME_ACCESSIBILITY_CONSTRAINTS the provisioner asks for no node")
	}
	info := must[*csi.NodeGetInfoResponse](t)(nodeServer{name: "n2"}.NodeGetInfo(background, nil))
	if got := info.AccessibleTopology.GetSegments(); len(got) != 1 || got["topology.btrfs.csi.holdfast.dev/node"] != "n2" {
		t.Fatalf("unexpected segments %v", got)
	}
}

func TestAVolumeIsMadeForTheNodeThatIsPreferred(t *testing.T) {
	c := controller{pool: mounted(t), node: "n1"}
	create := func(request *csi.CreateVolumeRequest) string {
		t.Helper()
		return home(t, must[*csi.CreateVolumeResponse](t)(c.CreateVolume(background, request)))
	}
	required := placed("required", nil, "n3")
	required.AccessibilityRequirements.Preferred = nil
	for node, request := range map[string]*csi.CreateVolumeRequest{
		"n2": placed("preferred", nil, "n2", "n1"),
		"n3": required,
		"n1": volume("unplaced", 1<<20, nil),
	} {
		if got := create(request); got != node {
			t.Errorf("%s is on %q, not on %s", request.Name, got, node)
		}
	}

	// Chosen anew, the scheduler asks for the same volume elsewhere.
	if got := create(placed("preferred", nil, "n1", "n2")); got != "n2" {
		t.Errorf("a volume that is there moved to %q", got)
	}
	_, err := c.CreateVolume(background, placed("preferred", nil, "n1"))
	refused(t, err, codes.AlreadyExists)
	if err := btrfs("subvolume", "delete", c.pool.path(volumes, "preferred")); err != nil {
		t.Fatal(err)
	}
	if got := create(placed("preferred", nil, "n1", "n2")); got != "n2" {
		t.Errorf("a creation cut short was completed on %q", got)
	}

	foreign := volume("foreign", 1<<20, nil)
	foreign.AccessibilityRequirements = &csi.TopologyRequirement{Requisite: []*csi.Topology{{Segments: map[string]string{"zone": "a"}}}}
	_, err = c.CreateVolume(background, foreign)
	refused(t, err, codes.ResourceExhausted)
}

func TestPlacedAnywhereAVolumeBelongsToNoNode(t *testing.T) {
	c := controller{pool: mounted(t), node: "n1"}
	request := placed("v", nil, "n2", "n1")
	request.Parameters = map[string]string{"placement": "anywhere", "csi.storage.k8s.io/pvc/name": "claim"}
	for range 2 {
		if got := home(t, must[*csi.CreateVolumeResponse](t)(c.CreateVolume(background, request))); got != "" {
			t.Fatalf("it belongs to %s", got)
		}
	}
	_, err := c.CreateVolume(background, placed("v", nil, "n1"))
	refused(t, err, codes.AlreadyExists)
	must[*csi.CreateVolumeResponse](t)(c.CreateVolume(background, placed("w", nil, "n1")))
	request.Name = "w"
	_, err = c.CreateVolume(background, request)
	refused(t, err, codes.AlreadyExists)
	request.Name, request.Parameters["placement"] = "x", "nowhere"
	_, err = c.CreateVolume(background, request)
	refused(t, err, codes.InvalidArgument)
}

func TestOnlyItsOwnNodeGetsAVolume(t *testing.T) {
	p := mounted(t)
	c := controller{pool: p, node: "n1"}
	must[*csi.CreateVolumeResponse](t)(c.CreateVolume(background, placed("v", nil, "n1", "n2")))
	if err := os.WriteFile(filepath.Join(p.path(volumes, "v"), "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	must[*csi.CreateSnapshotResponse](t)(c.CreateSnapshot(background, &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: "v"}))
	must[*csi.CreateVolumeResponse](t)(c.CreateVolume(background, placed("restored", fromSnapshot("s"), "n2", "n1")))
	must[*csi.CreateVolumeResponse](t)(c.CreateVolume(background, placed("clone", fromVolume("v"), "n2", "n1")))
	anywhere := volume("anywhere", 1<<20, fromSnapshot("s"))
	anywhere.Parameters = map[string]string{"placement": "anywhere"}
	must[*csi.CreateVolumeResponse](t)(c.CreateVolume(background, anywhere))

	for id, node := range map[string]string{"v": "n1", "restored": "n2", "clone": "n2", "anywhere": ""} {
		for _, here := range []string{"n1", "n2"} {
			target := filepath.Join(t.TempDir(), "target")
			_, err := nodeServer{pool: p, name: here}.NodePublishVolume(background, &csi.NodePublishVolumeRequest{
				VolumeId: id, TargetPath: target, VolumeCapability: singleNode,
			})
			if node != "" && node != here {
				refused(t, err, codes.FailedPrecondition)
				if _, err := os.Stat(target); !os.IsNotExist(err) {
					t.Fatalf("refused, it still made %s: %v", target, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s on %s: %v", id, here, err)
			}
			_, err = os.Stat(filepath.Join(target, "file"))
			if err := unix.Unmount(target, 0); err != nil {
				t.Fatal(err)
			}
			if err != nil {
				t.Fatalf("%s does not hold the data: %v", id, err)
			}
		}
	}
}
