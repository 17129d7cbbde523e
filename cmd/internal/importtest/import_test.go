// Package importtest holds the table of who may import whom against the code.
package importtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "gitlab.com/slipway-cd/slipway/"

// ours lists, for each package, which packages of this module it may import. A path
// that ends in /... covers what is below it; "*" allows everything.
var ours = map[string][]string{
	"pipeline":                       {"pipeline/policy", "pipeline/canary"},
	"pipeline/policy":                {},
	"pipeline/canary":                {},
	"pipeline/canary/canaryquality":  {"pipeline/canary"},
	"pipeline/spec":                  {"pipeline", "pipeline/canary", "pipeline/policy"},
	"pipeline/engine":                {"pipeline", "store"},
	"pipeline/pipelinetest":          {"pipeline", "pipeline/canary", "pipeline/policy", "pipeline/spec", "pipeline/engine", "store"},
	"store":                          {},
	"store/boltstore":                {"store"},
	"store/storetest":                {"store"},
	"gitlab":                         {"pipeline", "pipeline/policy", "pipeline/canary", "pipeline/canary/chart", "gitlab/webhook"},
	"pipeline/canary/chart":          {},
	"gitlab/webhook":                 {},
	"gitlab/gitlabsim":               {"gitlab/webhook"},
	"gitlab/gitlabsim/contract":      {},
	"chatops":                        {"pipeline", "pipeline/policy"},
	"chatops/slack":                  {"pipeline", "pipeline/policy", "chatops"},
	"chatops/slack/slacksim":         {},
	"deploy":                         {"pipeline", "deploy/manifest"},
	"deploy/analysis":                {"pipeline", "pipeline/canary", "deploy/metrics"},
	"deploy/check":                   {"pipeline", "deploy/metrics"},
	"deploy/manifest":                {},
	"deploy/metrics":                 {},
	"deploy/metrics/*":               {"deploy/metrics", "deploy/metrics/wire"},
	"deploy/metrics/googlecloud":     {"deploy/metrics", "deploy/metrics/wire", "deploy/metrics/prometheus"},
	"deploy/registry":                {"pipeline"},
	"deploy/kube":                    {"deploy", "deploy/manifest", "pipeline"},
	"deploy/kube/kubefault":          {},
	"deploy/kube/kubesim":            {"deploy/kube/kubesim/...", "deploy/kube/kubefault"},
	"deploy/kube/kubesim/internal/*": {"deploy/kube/kubesim/..."},
	"deploy/kube/kubesuite":          {},
	"deploy/kube/kubetest":           {"deploy/kube/kubetest/...", "deploy/kube/kubefault"},
	"deploy/kube/kubetest/binary":    {},
	"deploy/kube/kubetest/build":     {"deploy/kube/kubetest/binary"},
	"handlers":                       {},
	"handlers/web":                   {"pipeline", "pipeline/canary", "pipeline/canary/chart"},
	"cmd/internal/apart":             {"deploy/manifest"},
	"cmd/internal/config":            {"pipeline", "pipeline/canary", "pipeline/policy"},
	"cmd/internal/doctor":            {"cmd/internal/config", "deploy/kube", "deploy/metrics", "gitlab", "pipeline", "pipeline/policy", "store"},
	"cmd/internal/importtest":        {},
	"cmd/internal/kayenta":           {},
	"cmd/internal/metricsim":         {},
	"cmd/internal/world":             {"gitlab/gitlabsim", "chatops/slack/slacksim", "deploy/kube/kubesim", "cmd/internal/metricsim"},
	"cmd/internal/demo":              {"*"},
	"cmd/internal/demo/*":            {"*"},
	"cmd/slipway":                    {"*"},
}

// app may import everything but the simulators.
const app = "cmd/internal/app"

var simulators = []string{"gitlab/gitlabsim", "chatops/slack/slacksim", "deploy/kube/kubesim", "deploy/kube/kubefault", "cmd/internal/metricsim"}

// theirs lists the third-party packages that belong to few of ours, by prefix.
var theirs = map[string][]string{
	"github.com/gin-gonic/":                   {"handlers"},
	"k8s.io/client-go/":                       {"deploy/kube", "deploy/kube/kubetest", "deploy/kube/kubesuite", "deploy/kube/kubesim/internal/registry"}, // the simulator uses its schemas, no client
	"gitlab.com/gitlab-org/api/":              {"gitlab"},
	"github.com/slack-go/":                    {"chatops/slack"},
	"github.com/jackc/pgx":                    {"store/pgstore"},
	"go.etcd.io/bbolt":                        {"store/boltstore"},
	"cel.dev/":                                {"pipeline/spec"},
	"sigs.k8s.io/kustomize/":                  {"deploy/manifest"},
	"github.com/prometheus/":                  {"cmd/internal/app", "deploy/metrics/prometheus"},
	"testing":                                 {"store/storetest", "deploy/kube/kubetest", "deploy/kube/kubesuite", "deploy/metrics/metricstest"},
	"github.com/getkin/kin-openapi/":          {"gitlab/gitlabsim/contract"},
	"github.com/spf13/cobra":                  {"cmd/slipway"},
	"github.com/chromedp/":                    {},
	"pgregory.net/rapid":                      {"store/storetest"},
	"github.com/google/go-cmp/":               {"store/storetest", "deploy/kube/kubesuite", "deploy/metrics/metricstest"},
	"github.com/DataDog/":                     {"deploy/metrics/datadog"},
	"github.com/aws/":                         {"deploy/metrics/cloudwatch"},
	"golang.org/x/oauth2":                     {"deploy/metrics/googlecloud"},
	"golang.org/x/oauth2/":                    {"deploy/metrics/googlecloud"},
	"github.com/cenkalti/backoff/":            {"deploy/metrics/wire"},
	"github.com/santhosh-tekuri/":             {"deploy/manifest"},
	"helm.sh/helm/":                           {"deploy/manifest"},
	"github.com/Masterminds/sprig/":           {"deploy/manifest"},
	"github.com/google/go-containerregistry/": {"deploy/registry"},
	"sigs.k8s.io/structured-merge-diff":       {"deploy/kube/kubesim", "deploy/kube/kubesim/internal/registry"},
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return pkgs
		}
		if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func TestImports(t *testing.T) {
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := allowedFor(name)
		if !known {
			t.Errorf("package %s is not in the table: say what it may import", name)
			continue
		}
		for _, imported := range p.Imports {
			if rest, ok := strings.CutPrefix(imported, module); ok {
				if !covers(allowed, rest) || name == app && covers(simulators, rest) {
					t.Errorf("%s imports %s, which the table does not allow", name, rest)
				}
				continue
			}
			for prefix, owners := range theirs {
				if (imported == prefix || strings.HasSuffix(prefix, "/") && strings.HasPrefix(imported, prefix)) && !slices.Contains(owners, name) {
					t.Errorf("%s imports %s, which is for %s only", name, imported, strings.Join(owners, ", "))
				}
			}
		}
	}
}

func allowedFor(name string) ([]string, bool) {
	if name == app {
		return []string{"*"}, true
	}
	if allowed, ok := ours[name]; ok {
		return allowed, true
	}
	for pattern, allowed := range ours {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasPrefix(name, prefix) {
			return allowed, true
		}
	}
	return nil, false
}

func covers(allowed []string, name string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		prefix, below := strings.CutSuffix(a, "...")
		return a == "*" || a == name || below && strings.HasPrefix(name, prefix)
	})
}
