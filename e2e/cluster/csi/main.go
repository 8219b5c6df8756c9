// Command csi-btrfs is the CSI driver of the test bed: it serves btrfs subvolumes of one mounted pool to one node, with
// snapshots and clones that take milliseconds. It exists so that tests meet a real CSI volume behind the real
// external-provisioner. It refuses raw block volumes and writers on several nodes, keeps no quota, and is no product.
// Each node runs one, all with the same pool; a volume belongs to the node that it was made for, as a disk in it would.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const (
	driverName    = "btrfs.csi.holdfast.dev"
	driverVersion = "1.0.0"
)

func main() {
	pool := flag.String("pool", "", "a directory of a mounted btrfs file system")
	node := flag.String("node", "", "the name of the node that this driver serves")
	socket := flag.String("socket", "", "where the CSI services listen")
	registrationSocket := flag.String("registration-socket", "", "where kubelet asks who is here; none: not registered")
	flag.Parse()
	if *pool == "" || *node == "" || *socket == "" {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *pool, *node, *socket, *registrationSocket); err != nil {
		fmt.Fprintln(os.Stderr, "csi-btrfs:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, node, socket, registrationSocket string) error {
	pool, err := openPool(dir)
	if err != nil {
		return err
	}
	services := grpc.NewServer(grpc.UnaryInterceptor(logged))
	csi.RegisterIdentityServer(services, identity{})
	csi.RegisterControllerServer(services, controller{pool: pool, node: node})
	csi.RegisterNodeServer(services, nodeServer{pool: pool, name: node})
	failed := make(chan error, 2)
	if err := listen(services, socket, failed); err != nil {
		return err
	}
	defer services.Stop()

	// Kubelet connects to whatever appears in its registration directory, so this comes after the services answer.
	if registrationSocket != "" {
		registrar := grpc.NewServer()
		registration.RegisterRegistrationServer(registrar, registrationServer{endpoint: socket})
		if err := listen(registrar, registrationSocket, failed); err != nil {
			return err
		}
		defer registrar.Stop()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// listen serves on a unix socket. One left behind by a killed driver is replaced.
func listen(server *grpc.Server, socket string, failed chan<- error) error {
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go func() { failed <- server.Serve(listener) }()
	return nil
}

func logged(ctx context.Context, request any, call *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	response, err := handle(ctx, request)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s {%v}: %v\n", call.FullMethod, request, err)
	}
	return response, err
}

type registrationServer struct {
	registration.UnimplementedRegistrationServer
	endpoint string
}

func (s registrationServer) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              driverName,
		Endpoint:          s.endpoint,
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (s registrationServer) NotifyRegistrationStatus(_ context.Context, status *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if !status.PluginRegistered {
		fmt.Fprintln(os.Stderr, "kubelet did not register the driver:", status.Error)
	}
	return &registration.RegistrationStatusResponse{}, nil
}
