package manifest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

const (
	apps    = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: shop}\nspec: {template: {spec: %s}}\n"
	ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: shop%s}\nspec: %s\n"
	route   = "apiVersion: gateway.networking.k8s.io/v1\nkind: %s\nmetadata: {name: shop}\nspec: %s\n"
)

// reviewed renders a file and holds it by the fence.
func reviewed(t *testing.T, f Fence, text string) error {
	t.Helper()
	set, err := Render(t.Context(), fstest.MapFS{"deploy/all.yaml": {Data: []byte(text)}}, Source{Path: "deploy"}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return f.Check(set, "review/mr-12")
}

func TestAReviewClaimsTheOperatorsHostsOnly(t *testing.T) {
	at := func(host string) string { return fmt.Sprintf(ingress, "", "{rules: [{host: "+host+"}]}") }
	for name, c := range map[string]struct {
		hosts []string
		text  string
		want  string // of the refusal, "" if there is none
	}{
		"an Ingress of production's host": {[]string{"*.review.example.com"}, at("shop.example.com"),
			`deploy/all.yaml:1: Ingress shop claims the host "shop.example.com", and a review environment such as review/mr-12 may not (the operator's hosts of this environment are *.review.example.com;`},
		"without a list every host is refused": {nil, at("mr.review.example.com"), `claims the host "mr.review.example.com", and a review environment such as review/mr-12 may not (an operator names the hosts of review environments with hosts, and has named none)`},
		"a host below":                         {[]string{"*.review.example.com"}, at("MR-12.review.example.com"), ""},
		"a host far below":                     {[]string{"*.review.example.com"}, at("a.b.review.example.com"), ""},
		"the name above is not below":          {[]string{"*.review.example.com"}, at("review.example.com"), "claims the host"},
		"a name that only ends so":             {[]string{"*.review.example.com"}, at("evilreview.example.com"), "claims the host"},
		"the very host":                        {[]string{"mr-12.example.com"}, at("mr-12.example.com"), ""},
		"a wildcard over the very host":        {[]string{"mr-12.example.com"}, at(`"*.example.com"`), `claims the host "*.example.com"`},
		"the wildcard itself":                  {[]string{"*.review.example.com"}, at(`"*.review.example.com"`), ""},
		"a wildcard above":                     {[]string{"*.review.example.com"}, at(`"*.example.com"`), `claims the host "*.example.com"`},
		"what is no host":                      {[]string{"*.review.example.com"}, at(`"~^shop|.review.example.com"`), "claims the host"},
		"a second rule":                        {[]string{"*.review.example.com"}, fmt.Sprintf(ingress, "", "{rules: [{host: a.review.example.com}, {host: shop.example.com}]}"), `"shop.example.com"`},
		"a certificate":                        {[]string{"*.review.example.com"}, fmt.Sprintf(ingress, "", "{rules: [{host: a.review.example.com}], tls: [{hosts: [shop.example.com]}]}"), `"shop.example.com"`},
		"a rule without host":                  {[]string{"*.review.example.com"}, fmt.Sprintf(ingress, "", "{rules: [{host: a.review.example.com}, {http: {}}]}"), "Ingress shop takes the traffic of every host"},
		"a default backend":                    {[]string{"*.review.example.com"}, fmt.Sprintf(ingress, "", "{defaultBackend: {}, rules: [{host: a.review.example.com}]}"), "Ingress shop takes the traffic of every host"},
		"no rules at all":                      {[]string{"*.review.example.com"}, fmt.Sprintf(ingress, "", "{}"), "Ingress shop takes the traffic of every host"},
		"an HTTPRoute":                         {[]string{"*.review.example.com"}, fmt.Sprintf(route, "HTTPRoute", "{hostnames: [a.review.example.com, shop.example.com]}"), `HTTPRoute shop claims the host "shop.example.com"`},
		"an HTTPRoute of its own host":         {[]string{"*.review.example.com"}, fmt.Sprintf(route, "HTTPRoute", "{hostnames: [a.review.example.com]}"), ""},
		"an HTTPRoute without hosts":           {[]string{"*.review.example.com"}, fmt.Sprintf(route, "HTTPRoute", "{rules: []}"), "HTTPRoute shop takes the traffic of every host"},
		"a GRPCRoute":                          {[]string{"*.review.example.com"}, fmt.Sprintf(route, "GRPCRoute", "{hostnames: [shop.example.com]}"), `GRPCRoute shop claims the host "shop.example.com"`},
		"a TLSRoute":                           {nil, fmt.Sprintf(route, "TLSRoute", "{hostnames: []}"), "TLSRoute shop takes the traffic of every host"},
		"a TCPRoute has no hosts at all":       {[]string{"*.review.example.com"}, fmt.Sprintf(route, "TCPRoute", "{}"), "is of the kind TCPRoute.gateway.networking.k8s.io"},
		"a VirtualService of Istio": {[]string{"*.review.example.com"}, "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: shop}\nspec: {hosts: [shop.example.com]}\n",
			`VirtualService shop claims the host "shop.example.com"`},
		"a Route of OpenShift": {[]string{"*.review.example.com"}, "apiVersion: route.openshift.io/v1\nkind: Route\nmetadata: {name: shop}\nspec: {host: shop.example.com}\n",
			`Route shop claims the host "shop.example.com"`},
		"a Route of OpenShift for all beside": {[]string{"a.example.com"}, "apiVersion: route.openshift.io/v1\nkind: Route\nmetadata: {name: shop}\nspec: {host: a.example.com, wildcardPolicy: Subdomain}\n",
			`claims the host "*.example.com"`},
		"an IngressRoute of Traefik, whose hosts are code": {[]string{"*.review.example.com"}, "apiVersion: traefik.io/v1alpha1\nkind: IngressRoute\nmetadata: {name: shop}\nspec: {routes: [{match: Host(`shop.example.com`)}]}\n",
			"IngressRoute shop is of the kind IngressRoute.traefik.io, and a review environment such as review/mr-12 may not (an operator can allow it with kinds"},
		"an alias of nginx": {[]string{"*.review.example.com"}, fmt.Sprintf(ingress, ", annotations: {nginx.ingress.kubernetes.io/server-alias: 'a.review.example.com,shop.example.com'}", "{rules: [{host: a.review.example.com}]}"),
			"Ingress shop has the annotation nginx.ingress.kubernetes.io/server-alias, which may claim other hosts"},
		"an alias of its own": {[]string{"*.review.example.com"}, fmt.Sprintf(ingress, ", annotations: {nginx.ingress.kubernetes.io/server-alias: b.review.example.com}", "{rules: [{host: a.review.example.com}]}"), ""},
		"a snippet of nginx":  {[]string{"*.review.example.com"}, fmt.Sprintf(ingress, ", annotations: {nginx.ingress.kubernetes.io/configuration-snippet: x}", "{rules: [{host: a.review.example.com}]}"), "configuration-snippet"},
		"conditions of a load balancer": {[]string{"*.review.example.com"}, fmt.Sprintf(ingress, `, annotations: {alb.ingress.kubernetes.io/conditions.shop: '[]'}`, "{rules: [{host: a.review.example.com}]}"),
			"alb.ingress.kubernetes.io/conditions.shop"},
		"a name in the DNS": {[]string{"*.review.example.com"}, "apiVersion: v1\nkind: Service\nmetadata: {name: shop, annotations: {external-dns.alpha.kubernetes.io/hostname: shop.example.com}}\nspec: {}\n",
			"Service shop has the annotation external-dns.alpha.kubernetes.io/hostname"},
		"a name in the DNS, of pods": {[]string{"*.review.example.com"}, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: shop}\nspec: {template: {metadata: {annotations: {external-dns.alpha.kubernetes.io/hostname: shop.example.com}}}}\n",
			"Deployment shop has the annotation external-dns"},
		"annotations of everyday": {[]string{"*.review.example.com"}, fmt.Sprintf(ingress, ", annotations: {cert-manager.io/cluster-issuer: letsencrypt, nginx.ingress.kubernetes.io/rewrite-target: /, external-dns.alpha.kubernetes.io/ttl: '60'}", "{rules: [{host: a.review.example.com}]}"), ""},
	} {
		t.Run(name, func(t *testing.T) { wantRefusal(t, reviewed(t, Fence{Hosts: c.hosts}, c.text), c.want) })
	}
}

func wantRefusal(t *testing.T, err error, want string) {
	t.Helper()
	var mistake *Error
	switch {
	case want == "" && err != nil:
		t.Errorf("it is refused: %v", err)
	case want != "" && (!errors.As(err, &mistake) || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestAReviewTakesNothingThatIsNotItsOwn(t *testing.T) {
	const service = "apiVersion: v1\nkind: Service\nmetadata: {name: shop}\nspec: %s\n"
	kind := func(apiVersion, kind string) string {
		return "apiVersion: " + apiVersion + "\nkind: " + kind + "\nmetadata: {name: shop}\n"
	}
	for name, c := range map[string]struct{ text, want string }{
		"an ordinary Deployment":       {fmt.Sprintf(apps, "{containers: [{name: app, image: shop, ports: [{containerPort: 80}]}], serviceAccountName: shop}"), ""},
		"an ordinary Service":          {fmt.Sprintf(service, "{ports: [{port: 80}]}"), ""},
		"a NodePort of chance":         {fmt.Sprintf(service, "{type: NodePort, ports: [{port: 80}]}"), ""},
		"a NodePort of choice":         {fmt.Sprintf(service, "{type: NodePort, ports: [{port: 80, nodePort: 30080}]}"), "Service shop claims a port of all nodes (nodePort)"},
		"a load balancer":              {fmt.Sprintf(service, "{type: LoadBalancer}"), "Service shop is a Service of the type LoadBalancer"},
		"a name for another Service":   {fmt.Sprintf(service, "{type: ExternalName, externalName: shop.production.svc.cluster.local}"), "type ExternalName"},
		"addresses of others":          {fmt.Sprintf(service, "{externalIPs: [10.0.0.1]}"), "externalIPs"},
		"the node's network":           {fmt.Sprintf(apps, "{hostNetwork: true, containers: [{name: app}]}"), "Deployment shop shares what is its node's (hostNetwork)"},
		"the node's processes":         {fmt.Sprintf(apps, "{hostPID: true, containers: [{name: app}]}"), "hostPID"},
		"the node's files":             {fmt.Sprintf(apps, "{volumes: [{name: x, hostPath: {path: /}}], containers: [{name: app}]}"), "hostPath"},
		"the node's ports":             {fmt.Sprintf(apps, "{containers: [{name: app, ports: [{containerPort: 80, hostPort: 443}]}]}"), "hostPort"},
		"a right of the node":          {fmt.Sprintf(apps, "{containers: [{name: app, securityContext: {capabilities: {add: [NET_BIND_SERVICE, SYS_ADMIN]}}}]}"), "SYS_ADMIN"},
		"the node's rights":            {fmt.Sprintf(apps, "{containers: [], initContainers: [{name: app, securityContext: {privileged: true}}]}"), "privileged"},
		"pods that push others out":    {fmt.Sprintf(apps, "{priorityClassName: system-node-critical, containers: [{name: app}]}"), "priorityClassName"},
		"Slipway's own account":        {fmt.Sprintf(apps, "{serviceAccountName: deployer, containers: [{name: app}]}"), "uses the service account that Slipway acts as"},
		"Slipway's account, as of old": {fmt.Sprintf(apps, "{serviceAccount: deployer, containers: [{name: app}]}"), "uses the service account that Slipway acts as"},
		"a CronJob of Slipway's account": {"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: shop}\nspec: {jobTemplate: {spec: {template: {spec: {serviceAccountName: deployer, containers: [{name: app}]}}}}}\n",
			"CronJob shop uses the service account"},
		"a token of any account":  {kind("v1", "Secret") + "type: kubernetes.io/service-account-token\n", "Secret shop asks for the token of a service account"},
		"rights":                  {kind("rbac.authorization.k8s.io/v1", "Role"), "Role.rbac.authorization.k8s.io"},
		"a binding":               {kind("rbac.authorization.k8s.io/v1", "RoleBinding"), "RoleBinding.rbac.authorization.k8s.io"},
		"a Gateway":               {kind("gateway.networking.k8s.io/v1", "Gateway"), "Gateway.gateway.networking.k8s.io"},
		"addresses behind a name": {kind("v1", "Endpoints"), "of the kind Endpoints"},
		"quotas":                  {kind("v1", "ResourceQuota"), "of the kind ResourceQuota"},
		"an Ingress as of old":    {kind("extensions/v1beta1", "Ingress"), "Ingress.extensions"},
		"what nobody knows":       {kind("example.com/v1", "Anything"), "Anything.example.com"},
		"what the operator knows": {kind("cert-manager.io/v1", "Certificate"), ""},
		"a kind of another group": {kind("cert-manager.example.com/v1", "Certificate"), "Certificate.cert-manager.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefusal(t, reviewed(t, Fence{Account: "deployer", Kinds: []string{"Certificate.cert-manager.io"}}, c.text), c.want)
		})
	}
}

func TestAPodThatNamesNoAccountHasTheDefaultOne(t *testing.T) {
	pod := fmt.Sprintf(apps, "{containers: [{name: app}]}")
	wantRefusal(t, reviewed(t, Fence{Account: "default"}, pod), "uses the service account that Slipway acts as")
	wantRefusal(t, reviewed(t, Fence{Account: "deployer"}, pod), "")
}

func TestAnIngressWithTLSForItsRulesClaimsNoMore(t *testing.T) {
	f := Fence{Hosts: []string{"*.review.example.com"}}
	wantRefusal(t, reviewed(t, f, fmt.Sprintf(ingress, "", "{rules: [{host: a.review.example.com}], tls: [{secretName: cert}]}")), "")
	wantRefusal(t, reviewed(t, f, fmt.Sprintf(ingress, "", "{rules: [{host: a.review.example.com}], tls: [{hosts: [shop.example.com]}]}")), "shop.example.com")
}

func TestAKindThatTheOperatorAllowsIsHeldToHostsWhereTheyAreKnown(t *testing.T) {
	f := Fence{Hosts: []string{"*.review.example.com"}, Kinds: []string{"Gateway.gateway.networking.k8s.io"}}
	for text, want := range map[string]string{
		"{listeners: [{hostname: a.review.example.com}]}":                                                                                               "",
		"{listeners: [{hostname: a.review.example.com}, {port: 80}]}":                                                                                   "Gateway shop takes the traffic of every host",
		"{listeners: [{hostname: a.review.example.com}], addresses: [{value: x}]}":                                                                      "Gateway shop takes the traffic of every host",
		"{listeners: [{hostname: a.review.example.com}], infrastructure: {annotations: {external-dns.alpha.kubernetes.io/hostname: shop.example.com}}}": "external-dns",
	} {
		wantRefusal(t, reviewed(t, f, fmt.Sprintf(route, "Gateway", text)), want)
	}
}

func TestChartsAndKustomizationsOfReviewsAreHeldToo(t *testing.T) {
	claim := fmt.Sprintf(ingress, "", "{rules: [{host: shop.example.com}]}")
	for name, files := range map[string]fstest.MapFS{
		"a chart": {
			"deploy/Chart.yaml":             {Data: []byte("apiVersion: v2\nname: shop\nversion: 1.0.0\n")},
			"deploy/templates/ingress.yaml": {Data: []byte(strings.Replace(claim, "shop.example.com", `{{ printf "shop.%s" "example.com" }}`, 1))},
		},
		"a kustomization": {
			"deploy/kustomization.yaml": {Data: []byte("resources: [ingress.yaml]\npatches: [{target: {kind: Ingress}, patch: '[{\"op\": \"replace\", \"path\": \"/spec/rules/0/host\", \"value\": \"shop.example.com\"}]'}]\n")},
			"deploy/ingress.yaml":       {Data: []byte(strings.Replace(claim, "shop.example.com", "a.review.example.com", 1))},
		},
		"a list": {"deploy/all.yaml": {Data: []byte("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: shop}, spec: {rules: [{host: shop.example.com}]}}\n")}},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := Render(t.Context(), files, Source{Path: "deploy", Review: "mr-12-abcdef"}, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, Fence{Hosts: []string{"*.review.example.com"}}.Check(set, "review/mr-12"), `claims the host "shop.example.com"`)
		})
	}
}
