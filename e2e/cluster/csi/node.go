package main

import (
	"context"
	"errors"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type nodeServer struct {
	csi.UnimplementedNodeServer
	pool *pool
	name string
}

func (n nodeServer) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.name, AccessibleTopology: on(n.name)}, nil
}

func (nodeServer) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{{
		Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{
			Type: csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		}},
	}}}, nil
}

// NodePublishVolume binds the subvolume to the pod's directory. Bound already, it only sees to the read-only flag.
func (n nodeServer) NodePublishVolume(_ context.Context, request *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if request.TargetPath == "" {
		return nil, status.Error(codes.InvalidArgument, "publish where?")
	}
	if err := servable([]*csi.VolumeCapability{request.VolumeCapability}); err != nil {
		return nil, err
	}
	volume, err := n.pool.find(volumes, request.VolumeId)
	if err != nil {
		return nil, answer(err)
	}
	// Every node could reach the pool, but a disk of another machine it could not.
	if volume.Node != "" && volume.Node != n.name {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s lives on %s, this is %s", request.VolumeId, volume.Node, n.name)
	}
	source, target := n.pool.path(volumes, request.VolumeId), request.TargetPath
	if err := os.MkdirAll(target, 0o750); err != nil {
		return nil, answer(err)
	}
	bound, err := sameDirectory(source, target)
	if err != nil {
		return nil, answer(err)
	}
	if !bound {
		if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return nil, answer(err)
		}
	}
	if request.Readonly {
		if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			// A volume asked for read-only is never left writable.
			return nil, answer(errors.Join(err, unix.Unmount(target, unix.MNT_DETACH)))
		}
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// NodeUnpublishVolume unbinds. What is not bound, or not there, is unpublished already.
func (nodeServer) NodeUnpublishVolume(_ context.Context, request *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if request.TargetPath == "" {
		return nil, status.Error(codes.InvalidArgument, "unpublish where?")
	}
	for {
		err := unix.Unmount(request.TargetPath, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return nil, answer(err)
		}
	}
	// Remove, not RemoveAll: were something still bound there, this must not delete its data.
	if err := os.Remove(request.TargetPath); err != nil && !os.IsNotExist(err) {
		return nil, answer(err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

func (n nodeServer) NodeGetVolumeStats(_ context.Context, request *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	if _, err := n.pool.find(volumes, request.VolumeId); err != nil {
		return nil, answer(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(request.VolumePath, &fs); err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{{
		Unit:      csi.VolumeUsage_BYTES,
		Total:     int64(fs.Blocks) * fs.Bsize,
		Available: int64(fs.Bavail) * fs.Bsize,
		Used:      int64(fs.Blocks-fs.Bfree) * fs.Bsize,
	}}}, nil
}

// sameDirectory tells whether a is bound to b. A subvolume's root always has inode 256, its device is its own.
func sameDirectory(a, b string) (bool, error) {
	first, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	second, err := os.Stat(b)
	if err != nil {
		return false, err
	}
	return os.SameFile(first, second), nil
}
