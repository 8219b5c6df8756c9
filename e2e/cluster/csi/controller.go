package main

import (
	"context"
	"errors"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const defaultCapacity = 1 << 30

type controller struct {
	csi.UnimplementedControllerServer
	pool *pool
	// Where a volume is made when nobody says where.
	node string
}

func (controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	response := &csi.ControllerGetCapabilitiesResponse{}
	for _, capability := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY,
	} {
		response.Capabilities = append(response.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: capability}},
		})
	}
	return response, nil
}

func (c controller) CreateVolume(_ context.Context, request *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if !identifier.MatchString(request.Name) {
		return nil, status.Error(codes.InvalidArgument, "the volume's name must be a plain file name")
	}
	if err := servable(request.VolumeCapabilities); err != nil {
		return nil, err
	}
	want := record{
		CapacityBytes: request.GetCapacityRange().GetRequiredBytes(),
		FromVolume:    request.GetVolumeContentSource().GetVolume().GetVolumeId(),
		FromSnapshot:  request.GetVolumeContentSource().GetSnapshot().GetSnapshotId(),
		CreatedAt:     time.Now().UTC(),
	}
	if want.CapacityBytes == 0 {
		want.CapacityBytes = defaultCapacity
	}
	if limit := request.GetCapacityRange().GetLimitBytes(); limit > 0 && want.CapacityBytes > limit {
		return nil, status.Error(codes.OutOfRange, "the required size is above the limit")
	}
	node, err := c.place(request.Parameters, request.AccessibilityRequirements)
	if err != nil {
		return nil, err
	}
	want.Node = node
	// A repeated call may prefer another node, since the scheduler has chosen anew: what was begun stays where it may be.
	if have, err := c.pool.recorded(volumes, request.Name); err == nil && node != "" && allowed(request.AccessibilityRequirements, have.Node) {
		want.Node = have.Node
	}
	if _, err := c.pool.find(volumes, request.Name); errors.Is(err, errMissing) {
		free, err := c.pool.freeBytes()
		if err != nil {
			return nil, answer(err)
		}
		if want.CapacityBytes > free {
			return nil, status.Errorf(codes.ResourceExhausted, "%d bytes wanted, %d free in the pool", want.CapacityBytes, free)
		}
	}
	made, err := c.pool.create(volumes, request.Name, want)
	if err != nil {
		return nil, answer(err)
	}
	volume := &csi.Volume{
		VolumeId:      request.Name,
		CapacityBytes: made.CapacityBytes,
		ContentSource: request.VolumeContentSource,
	}
	if made.Node != "" {
		volume.AccessibleTopology = []*csi.Topology{on(made.Node)}
	}
	return &csi.CreateVolumeResponse{Volume: volume}, nil
}

func (c controller) DeleteVolume(_ context.Context, request *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if request.VolumeId == "" {
		return nil, status.Error(codes.InvalidArgument, "which volume?")
	}
	if err := c.pool.remove(volumes, request.VolumeId); err != nil {
		return nil, answer(err)
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// CreateSnapshot cuts at once. With the class's parameter ready: never it says for ever that the snapshot can't be read yet.
func (c controller) CreateSnapshot(_ context.Context, request *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	if !identifier.MatchString(request.Name) {
		return nil, status.Error(codes.InvalidArgument, "the snapshot's name must be a plain file name")
	}
	source, err := c.pool.find(volumes, request.SourceVolumeId)
	if err != nil {
		return nil, answer(err)
	}
	made, err := c.pool.create(snapshots, request.Name, record{
		CapacityBytes: source.CapacityBytes,
		FromVolume:    request.SourceVolumeId,
		CreatedAt:     time.Now().UTC(),
	})
	if err != nil {
		return nil, answer(err)
	}
	return &csi.CreateSnapshotResponse{Snapshot: &csi.Snapshot{
		SnapshotId:     request.Name,
		SourceVolumeId: made.FromVolume,
		SizeBytes:      made.CapacityBytes,
		CreationTime:   timestamppb.New(made.CreatedAt),
		ReadyToUse:     request.Parameters["ready"] != "never",
	}}, nil
}

func (c controller) DeleteSnapshot(_ context.Context, request *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if request.SnapshotId == "" {
		return nil, status.Error(codes.InvalidArgument, "which snapshot?")
	}
	if err := c.pool.remove(snapshots, request.SnapshotId); err != nil {
		return nil, answer(err)
	}
	return &csi.DeleteSnapshotResponse{}, nil
}

func (c controller) GetCapacity(context.Context, *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	free, err := c.pool.freeBytes()
	if err != nil {
		return nil, answer(err)
	}
	return &csi.GetCapacityResponse{AvailableCapacity: free}, nil
}

func (c controller) ValidateVolumeCapabilities(_ context.Context, request *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if _, err := c.pool.find(volumes, request.VolumeId); err != nil {
		return nil, answer(err)
	}
	if err := servable(request.VolumeCapabilities); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{
		Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: request.VolumeCapabilities},
	}, nil
}

// servable refuses what a disk of one node cannot be.
func servable(wanted []*csi.VolumeCapability) error {
	if len(wanted) == 0 {
		return status.Error(codes.InvalidArgument, "no volume capability was asked for")
	}
	for _, capability := range wanted {
		if capability.GetBlock() != nil {
			return status.Error(codes.InvalidArgument, "raw block volumes are not served")
		}
		switch capability.GetAccessMode().GetMode() {
		case csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER, csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER:
			return status.Error(codes.InvalidArgument, "a volume has writers on one node only: use ReadWriteOnce")
		}
	}
	return nil
}

func answer(err error) error {
	switch {
	case errors.Is(err, errConflict):
		return status.Error(codes.AlreadyExists, err.Error())
	case errors.Is(err, errMissing):
		return status.Error(codes.NotFound, err.Error())
	default:
		return status.Error(codes.Internal, err.Error())
	}
}
