package main

import (
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	topologyKey = "topology." + driverName + "/node"
	// A StorageClass's parameter. With the value anywhere its volumes belong to no node: they follow their pods, like a disk of
	// the network. Without it each belongs to one node.
	placementParameter = "placement"
	placementAnywhere  = "anywhere"
)

// on is the topology of what only this node reaches.
func on(node string) *csi.Topology {
	return &csi.Topology{Segments: map[string]string{topologyKey: node}}
}

// place decides which node a new volume belongs to; "" is every node. The snapshot or volume that it is made from has no say: the
// pool is one, so a copy can live on any node.
func (c controller) place(parameters map[string]string, requirement *csi.TopologyRequirement) (string, error) {
	switch placement := parameters[placementParameter]; placement {
	case placementAnywhere:
		return "", nil
	case "":
	default:
		return "", status.Errorf(codes.InvalidArgument, "%s: %s is not known; there is %s", placementParameter, placement, placementAnywhere)
	}
	wanted := append(nodes(requirement.GetPreferred()), nodes(requirement.GetRequisite())...)
	switch {
	case len(wanted) > 0:
		return wanted[0], nil
	case len(requirement.GetPreferred()) > 0 || len(requirement.GetRequisite()) > 0:
		return "", status.Errorf(codes.ResourceExhausted, "none of the wanted topologies has a %s", topologyKey)
	default:
		return c.node, nil
	}
}

// allowed tells whether a volume that belongs to node fulfils the requirement. One of every node is no answer to any.
func allowed(requirement *csi.TopologyRequirement, node string) bool {
	if node == "" {
		return false
	}
	terms := requirement.GetRequisite()
	if len(terms) == 0 {
		terms = requirement.GetPreferred()
	}
	if len(terms) == 0 {
		return true
	}
	return slices.Contains(nodes(terms), node)
}

// nodes lists the nodes that the terms name, in their order.
func nodes(terms []*csi.Topology) []string {
	var names []string
	for _, term := range terms {
		if name := term.GetSegments()[topologyKey]; name != "" {
			names = append(names, name)
		}
	}
	return names
}
