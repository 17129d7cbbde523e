package world

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// shopAddress stands in the project's files where the running shop's address belongs.
	shopAddress = "https://shop.example.com"
	// shopStandby stands in the pipeline file where the time on standby belongs.
	shopStandby = "standby: 30s"
	// shopProven stands there where the time belongs that the check has to hold.
	shopProven = "for: 3s"
	// brokenImage runs well, and makes the shop answer badly.
	brokenImage = "registry.example.com/payments:3.0"

	paymentsContainer = `        - name: payments
          image: ` + brokenImage + "\n"
)

// startShop serves what customers see of production: it is what the pods behind the Service
// would answer, which no cluster of the tests really runs.
func (w *World) startShop() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("start the shop: %w", err)
	}
	w.ShopURL = "http://" + l.Addr().String()
	w.shop = &http.Server{Handler: http.HandlerFunc(w.answer), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = w.shop.Serve(l) }() // ends with Close
	return nil
}

func (w *World) answer(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	images := w.serving()
	switch {
	case len(images) == 0:
		rw.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(rw, "no pod serves the shop")
	case slices.ContainsFunc(images, func(image string) bool { return bare(image) == brokenImage }):
		rw.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintln(rw, "checkout failed: payments: certificate expired")
	default:
		fmt.Fprintf(rw, "Welcome to the shop, version %s\n", mostly(images))
	}
}

// bare is an image without its digest.
func bare(image string) string {
	name, _, _ := strings.Cut(image, "@")
	return name
}

// mostly is the version of the shop that most of the pods run: with a canary beside it there are two.
func mostly(images []string) string {
	count, most := map[string]int{}, ""
	for _, image := range images {
		tag, ok := strings.CutPrefix(bare(image), "registry.example.com/shop:")
		if !ok {
			continue
		}
		if count[tag]++; count[tag] > count[most] {
			most = tag
		}
	}
	return most
}

// serving are the images of the pods that production's traffic goes to.
func (w *World) serving() []string {
	if w.o.Serving != nil {
		return w.o.Serving()
	}
	for _, ns := range w.Cluster.Snapshot().Namespaces {
		if ns.Name != w.o.Production {
			continue
		}
		var pods []string
		for _, s := range ns.Services {
			if s.Name == "shop" {
				pods = s.Pods
			}
		}
		var images []string
		for _, wl := range ns.Workloads {
			for _, p := range wl.Pods {
				if slices.Contains(pods, p.Name) {
					images = append(images, p.Images...)
				}
			}
		}
		return images
	}
	return nil
}

// Limping is a change whose pods get ready, and which customers cannot buy with.
func (w *World) Limping(title, branch string) (int64, error) {
	files, err := w.Files()
	if err != nil {
		return 0, err
	}
	deployment := "deploy/base/deployment.yaml"
	return w.Change(title, "", branch, map[string]string{deployment: files[deployment] + paymentsContainer})
}
