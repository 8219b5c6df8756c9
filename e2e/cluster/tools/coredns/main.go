// Command coredns is CoreDNS with the plugins that manifests/coredns.yaml names and no others: the stock program links the
// SDKs of four clouds, for plugins that nothing here uses, and takes minutes to build.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

// The order in which a query passes the plugins, whatever their order in the Corefile: as in the stock program.
func init() {
	dnsserver.Directives = []string{"ready", "health", "errors", "cache", "template", "kubernetes"}
}

func main() {
	coremain.Run()
}
