package main

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// BenchmarkIdle counts what Slipway asks a real control plane for when there is nothing to do: after a blue-green release
// was delivered and somebody has looked at its environment once, and while a release before is on standby. All requests go
// through a proxy that counts them.
func BenchmarkIdle(b *testing.B) {
	const idle = time.Minute
	for _, tc := range []struct{ name, standby, says string }{
		{"delivered", "0s", "**Delivered**"},
		{"standby", "1h", "on standby"},
	} {
		b.Run(tc.name, func(b *testing.B) {
			if testing.Short() {
				b.Skip("short: no control plane")
			}
			r := newRig(b, "proxied")
			r.start()
			const stages = "  - name: staging\n    deploy: {environment: staging, manifests: deploy/staging, strategy: blue-green, standby: %s, " +
				"images: {registry.example.com/shop: \"${{ commit.short_sha }}\"}}\n"
			for n, standby := range []string{"0s", tc.standby} {
				iid := r.change(n+1, fmt.Sprintf(stages, standby), nil)
				r.merge(iid)
				says := "**Delivered**"
				if standby == tc.standby {
					says = tc.says
				}
				r.ok(r.world.AwaitNote(r.within(), iid, says))
			}
			r.look("staging")
			settle := time.NewTimer(3 * time.Second) // a benchmark's pause: what the look began has ended
			<-settle.C
			if r.proxy.Watches() == 0 {
				b.Fatal("what Slipway asks doesn't go through the proxy")
			}
			var watches, others int64
			var over time.Duration
			for b.Loop() {
				all, begun, began := r.proxy.Requests(), r.proxy.Watches(), time.Now()
				pause := time.NewTimer(idle)
				<-pause.C
				begun = r.proxy.Watches() - begun
				watches += begun
				others += r.proxy.Requests() - all - begun
				over += time.Since(began)
			}
			b.ReportMetric(float64(others)/over.Seconds(), "requests/s")
			b.ReportMetric(float64(watches)/over.Minutes(), "watches-begun/min")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// look opens the page of an environment, as somebody would once.
func (r *rig) look(environment string) {
	r.Helper()
	resp, err := http.Get(fmt.Sprintf("http://%s/environments/%d/%s", r.addr, r.world.Project, environment))
	r.ok(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	r.ok(err)
	if resp.StatusCode != http.StatusOK {
		r.Fatalf("the environment's page: %d %.300s", resp.StatusCode, body)
	}
}
