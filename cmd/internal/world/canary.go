package world

import (
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/metricsim"
)

const (
	// beforeProduction is where the canary stands in the pipeline file, if there is one.
	beforeProduction = "  - name: production\n"
	canaryLifetime   = "lifetime: 15s"
	canaryInterval   = "interval: 3s"

	noiseSeed = 20260301

	// Containers that make the shop worse in ways which only a comparison shows.
	retryImage  = "registry.example.com/retry:1.0"
	searchImage = "registry.example.com/search:2.0"
)

// usual is how the shop answers, and what it is like with each of the containers.
var (
	usual     = metricsim.Behaviour{Errors: 0.002, Latency: 240 * time.Millisecond}
	behaviour = map[string]metricsim.Behaviour{
		retryImage:  {Errors: 0.04, Latency: 336 * time.Millisecond},
		searchImage: {Errors: 0.002, Latency: 300 * time.Millisecond},
	}
)

// Track is one side of a pair in production whose pods are all ready.
type Track struct {
	Name    string // baseline or canary
	Version string // the value of slipway.dev/version
	Images  []string
}

// startMetrics measures what the pairs of production do.
func (w *World) startMetrics() error {
	if w.o.Canary == 0 {
		return nil
	}
	tracks, changed := w.o.Tracks, w.o.Changed
	if w.Cluster != nil {
		tracks, changed = w.tracks, w.Cluster.Subscribe
	}
	running := func() []metricsim.Track {
		var all []metricsim.Track
		for _, t := range tracks() {
			all = append(all, metricsim.Track{Name: t.Name, Version: t.Version, Behaviour: behaves(t.Images)})
		}
		return all
	}
	var err error
	w.Metrics, err = metricsim.Start(metricsim.Options{Seed: noiseSeed, Running: running, Changed: changed})
	return err
}

// tracks are those in a simulated cluster.
func (w *World) tracks() []Track {
	var all []Track
	for _, ns := range w.Cluster.Snapshot().Namespaces {
		if ns.Name != w.o.Production {
			continue
		}
		for _, wl := range ns.Workloads {
			if len(wl.Pods) == 0 || wl.Ready < wl.Desired || wl.Desired == 0 {
				continue
			}
			labels := wl.Pods[0].Labels
			if track := labels["slipway.dev/track"]; track != "" {
				all = append(all, Track{Name: track, Version: labels["slipway.dev/version"], Images: wl.Images})
			}
		}
	}
	return all
}

func behaves(images []string) metricsim.Behaviour {
	for _, image := range images {
		if b, ok := behaviour[bare(image)]; ok {
			return b
		}
	}
	return usual
}

// withCanary puts the canary stage into the pipeline file.
func (w *World) withCanary(file string) (string, error) {
	stage, err := shop.ReadFile("shop/canary.yml")
	if err != nil {
		return "", err
	}
	interval := max(w.o.Canary/5, 2*time.Second).Truncate(time.Second)
	timed := strings.NewReplacer(canaryLifetime, "lifetime: "+w.o.Canary.String(), canaryInterval, "interval: "+interval.String()).Replace(string(stage))
	return strings.Replace(file, beforeProduction, timed+beforeProduction, 1), nil
}

// Worse is a change that works, answers more slowly, and loses some requests: the canary finds it.
func (w *World) Worse(title, branch string) (int64, error) {
	return w.withContainer(title, branch, "retry", retryImage)
}

// Slower is a change that works and answers a little more slowly: whether that is good enough is up to people.
func (w *World) Slower(title, branch string) (int64, error) {
	return w.withContainer(title, branch, "search", searchImage)
}

func (w *World) withContainer(title, branch, name, image string) (int64, error) {
	files, err := w.Files()
	if err != nil {
		return 0, err
	}
	deployment := "deploy/base/deployment.yaml"
	return w.Change(title, "", branch, map[string]string{deployment: files[deployment] + "        - name: " + name + "\n          image: " + image + "\n"})
}
